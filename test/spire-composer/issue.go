package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"shellstream.test/spire-composer/gen/composerpb"
)

// authority signs SVIDs of whatever trust domain it is asked for.
type authority struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
}

const keyID = "key"

func newAuthority() *authority {
	return &authority{key: newKey()}
}

// bundles are the root as DER and the JWK set.
func (a *authority) bundles() (any, error) {
	root, err := a.rootOf("a.test")
	if err != nil {
		return nil, err
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: a.key.Public(), KeyID: keyID, Use: "jwt-svid"}}})
	return map[string]any{"x509": root.Raw, "jwt": set}, err
}

func (a *authority) rootOf(trustDomain string) (*x509.Certificate, error) {
	if a.root != nil {
		return a.root, nil
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs: []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		return nil, err
	}
	a.root, err = x509.ParseCertificate(der)
	return a.root, err
}

// token composes the claims of a JWT-SVID and signs them, numbers of time as SPIRE writes them after composers.
func (h *host) token(request Request) (any, error) {
	now := time.Now()
	claims := map[string]any{
		"sub": request.SpiffeID, "aud": []string{request.Audience}, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	for claim, value := range request.Claims {
		claims[claim] = value
	}
	claims, err := h.composeClaims(request.SpiffeID, claims)
	if err != nil {
		return nil, err
	}
	for _, claim := range []string{"iat", "exp"} {
		if number, ok := claims[claim].(float64); ok {
			claims[claim] = int64(number)
		}
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: h.authority.key, KeyID: keyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	return map[string]any{"token": token, "claims": claims}, err
}

// certificate composes and signs an X.509-SVID. Extensions are OIDs that something in front of the plugin has set.
func (h *host) certificate(request Request) (any, error) {
	key := newKey()
	publicKey, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	before := &composerpb.X509SVIDAttributes{
		Subject: &composerpb.DistinguishedName{Country: []string{"US"}, Organization: []string{"SPIRE"}},
		DnsSans: []string{"web.a.test"},
	}
	for _, oid := range request.Extensions {
		before.ExtraExtensions = append(before.ExtraExtensions, &composerpb.X509Extension{Oid: oid, Value: []byte{5, 0}})
	}
	attributes, err := h.composeX509(request.SpiffeID, before, publicKey)
	if err != nil {
		return nil, err
	}
	id, err := url.Parse(request.SpiffeID)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{Country: attributes.Subject.Country, Organization: attributes.Subject.Organization},
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyAgreement,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{id}, DNSNames: attributes.DnsSans,
	}
	for _, extension := range attributes.ExtraExtensions {
		oid, err := parseOID(extension.Oid)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oid, Value: extension.Value, Critical: extension.Critical})
	}
	root, err := h.authority.rootOf(id.Host)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), h.authority.key)
	if err != nil {
		return nil, err
	}
	return h.describe(der)
}

// describe parses the certificate anew: what stands in it, and not what was meant to.
func (h *host) describe(der []byte) (any, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	extensions := map[string]string{}
	for _, extension := range leaf.Extensions {
		extensions[extension.Id.String()] = base64.StdEncoding.EncodeToString(extension.Value)
	}
	return map[string]any{
		"der": der, "subject": leaf.Subject.String(), "dns": leaf.DNSNames, "extensions": extensions,
		"unhandledCritical": len(leaf.UnhandledCriticalExtensions),
	}, nil
}

// parseOID takes what SPIRE takes: parts that fit an int.
func parseOID(text string) (asn1.ObjectIdentifier, error) {
	var oid asn1.ObjectIdentifier
	for _, part := range strings.Split(text, ".") {
		number, err := strconv.Atoi(part)
		if err != nil {
			return nil, fmt.Errorf("invalid OID %q", text)
		}
		oid = append(oid, number)
	}
	return oid, nil
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}
