package main

import (
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func verifyX509(request Request) Verdict {
	domain, err := spiffeid.TrustDomainFromString(request.TrustDomain)
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	authorities, err := x509.ParseCertificates(request.Bundle)
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	bundle := x509bundle.FromX509Authorities(domain, authorities)
	return verdict(x509svid.ParseAndVerify(request.Chain, bundle))
}

func verifyJWT(request Request) Verdict {
	domain, err := spiffeid.TrustDomainFromString(request.TrustDomain)
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	bundle, err := jwtbundle.Parse(domain, request.Bundle)
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	return jwtVerdict(jwtsvid.ParseAndValidate(request.Token, bundle, []string{request.Audience}))
}

func verdict(id spiffeid.ID, _ [][]*x509.Certificate, err error) Verdict {
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	return Verdict{OK: true, ID: id.String()}
}

func jwtVerdict(svid *jwtsvid.SVID, err error) Verdict {
	if err != nil {
		return Verdict{Error: err.Error()}
	}
	return Verdict{OK: true, ID: svid.ID.String()}
}
