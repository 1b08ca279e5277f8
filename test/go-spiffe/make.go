package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const domainName = "go.test"

// Case is a chain or token that Go made, with go-spiffe's own verdict on it.
type Case struct {
	Name    string   `json:"name"`
	Chain   [][]byte `json:"chain,omitempty"`
	Token   string   `json:"token,omitempty"`
	Bundle  []byte   `json:"bundle"`
	Verdict Verdict  `json:"verdict"`
}

type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(parent *authority, change func(*x509.Certificate)) *authority {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"go"}, SerialNumber: serial().Text(16)},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domainName}},
	}
	if change != nil {
		change(template)
	}
	key := newKey(elliptic.P256())
	self := &authority{key: key, certificate: template}
	if parent == nil {
		parent = self
	}
	self.certificate = parent.sign(template, key.Public())
	return self
}

func (a *authority) sign(template *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	template.SerialNumber = serial()
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Minute)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(time.Hour)
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, key, a.key))
	return must(x509.ParseCertificate(der))
}

func (a *authority) leaf(key crypto.PublicKey, change func(*x509.Certificate)) []byte {
	template := &x509.Certificate{
		Subject:               pkix.Name{Country: []string{"US"}, Organization: []string{"go"}},
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: domainName, Path: "/workload"}},
	}
	if change != nil {
		change(template)
	}
	return a.sign(template, key).Raw
}

// makeX509 makes chains as a Go authority would, good ones and bad ones.
func makeX509() ([]Case, error) {
	root := newAuthority(nil, nil)
	stranger := newAuthority(nil, nil)
	middle := newAuthority(root, nil)
	lower := newAuthority(middle, nil)
	short := newAuthority(root, func(c *x509.Certificate) { c.MaxPathLenZero = true })
	belowShort := newAuthority(short, nil)
	noCA := newAuthority(root, func(c *x509.Certificate) { c.IsCA = false; c.KeyUsage = x509.KeyUsageDigitalSignature })
	elsewhere := newAuthority(root, func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"other.test"}, true
	})
	here := newAuthority(root, func(c *x509.Certificate) {
		c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{domainName}, true
	})
	expired := newAuthority(root, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
	key := newKey(elliptic.P256()).Public()
	uri := func(text string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.URIs = []*url.URL{must(url.Parse(text))} }
	}

	cases := []Case{
		{Name: "good: P-256", Chain: [][]byte{root.leaf(key, nil)}},
		{Name: "good: P-384", Chain: [][]byte{root.leaf(newKey(elliptic.P384()).Public(), nil)}},
		{Name: "good: RSA 2048", Chain: [][]byte{root.leaf(must(rsa.GenerateKey(rand.Reader, 2048)).Public(), nil)}},
		{Name: "good: Ed25519", Chain: [][]byte{root.leaf(newEd25519(), nil)}},
		{Name: "good: one intermediate", Chain: [][]byte{middle.leaf(key, nil), middle.certificate.Raw}},
		{Name: "good: two intermediates", Chain: [][]byte{lower.leaf(key, nil), lower.certificate.Raw, middle.certificate.Raw}},
		{Name: "good: the root is sent too", Chain: [][]byte{root.leaf(key, nil), root.certificate.Raw}},
		{Name: "good: name constraint that allows it", Chain: [][]byte{here.leaf(key, nil), here.certificate.Raw}},
		{Name: "good: path length that is kept", Chain: [][]byte{short.leaf(key, nil), short.certificate.Raw}},
		{Name: "good: DNS names beside the ID", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.DNSNames = []string{"web.example"} })}},
		{Name: "bad: another authority", Chain: [][]byte{stranger.leaf(key, nil)}},
		{Name: "bad: intermediate missing", Chain: [][]byte{middle.leaf(key, nil)}},
		{Name: "bad: intermediate that is no authority", Chain: [][]byte{noCA.leaf(key, nil), noCA.certificate.Raw}},
		{Name: "bad: intermediate expired", Chain: [][]byte{expired.leaf(key, nil), expired.certificate.Raw}},
		{Name: "bad: path length broken", Chain: [][]byte{belowShort.leaf(key, nil), belowShort.certificate.Raw, short.certificate.Raw}},
		{Name: "bad: name constraint broken", Chain: [][]byte{elsewhere.leaf(key, nil), elsewhere.certificate.Raw}},
		{Name: "bad: expired", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })}},
		{Name: "bad: not valid yet", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })}},
		{Name: "bad: leaf is an authority", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.IsCA = true })}},
		{Name: "bad: leaf signs certificates", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign })}},
		{Name: "bad: leaf signs revocation lists", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign })}},
		{Name: "bad: no URI", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.URIs = nil })}},
		{Name: "bad: two URIs", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) })}},
		{Name: "bad: not a SPIFFE ID", Chain: [][]byte{root.leaf(key, uri("https://go.test/workload"))}},
		{Name: "bad: trailing slash", Chain: [][]byte{root.leaf(key, uri("spiffe://go.test/workload/"))}},
		{Name: "bad: percent encoding", Chain: [][]byte{root.leaf(key, uri("spiffe://go.test/%77"))}},
		{Name: "bad: query", Chain: [][]byte{root.leaf(key, uri("spiffe://go.test/workload?x"))}},
		{Name: "bad: another trust domain", Chain: [][]byte{root.leaf(key, uri("spiffe://other.test/workload"))}},
		{Name: "bad: unknown critical extension", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}
		})}},
		{Name: "bad: empty chain", Chain: [][]byte{}},
		// go-spiffe takes these; the specification says no, and so do we.
		{Name: "stricter: no digital signature", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement })}},
		{Name: "stricter: no path in the ID", Chain: [][]byte{root.leaf(key, uri("spiffe://go.test"))}},
		{Name: "stricter: code signing only", Chain: [][]byte{root.leaf(key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} })}},
		{Name: "stricter: P-521", Chain: [][]byte{root.leaf(newKey(elliptic.P521()).Public(), nil)}},
		{Name: "stricter: unrelated certificate at the end", Chain: [][]byte{root.leaf(key, nil), stranger.certificate.Raw}},
	}
	for at := range cases {
		cases[at].Bundle = root.certificate.Raw
		cases[at].Verdict = verifyX509(Request{TrustDomain: domainName, Bundle: root.certificate.Raw, Chain: cases[at].Chain})
	}
	return cases, nil
}

// makeJWT makes tokens as a Go server would, good ones and bad ones.
func makeJWT(audience string) ([]Case, error) {
	p256, p384, rsaKey, stranger := newKey(elliptic.P256()), newKey(elliptic.P384()), must(rsa.GenerateKey(rand.Reader, 2048)), newKey(elliptic.P256())
	bundle := jwtbundle.New(spiffeid.RequireTrustDomainFromString(domainName))
	for id, key := range map[string]crypto.PublicKey{"p256": p256.Public(), "p384": p384.Public(), "rsa": rsaKey.Public()} {
		if err := bundle.AddJWTAuthority(id, key); err != nil {
			return nil, err
		}
	}
	document, err := bundle.Marshal()
	if err != nil {
		return nil, err
	}
	claims := func(change func(map[string]any)) map[string]any {
		usual := map[string]any{
			"sub": "spiffe://go.test/workload", "aud": []string{audience}, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		}
		if change != nil {
			change(usual)
		}
		return usual
	}
	with := func(name string, value any) map[string]any {
		return claims(func(usual map[string]any) { usual[name] = value })
	}
	without := func(name string) map[string]any { return claims(func(usual map[string]any) { delete(usual, name) }) }
	sign := func(algorithm jose.SignatureAlgorithm, id string, key any, body any, typ jose.ContentType) string {
		signer := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType(typ)))
		return must(jwt.Signed(signer).Claims(body).Serialize())
	}
	es256 := func(body any) string { return sign(jose.ES256, "p256", p256, body, "JWT") }

	cases := []Case{
		{Name: "good: ES256", Token: es256(claims(nil))},
		{Name: "good: ES384", Token: sign(jose.ES384, "p384", p384, claims(nil), "JWT")},
		{Name: "good: RS256", Token: sign(jose.RS256, "rsa", rsaKey, claims(nil), "JWT")},
		{Name: "good: PS256", Token: sign(jose.PS256, "rsa", rsaKey, claims(nil), "JWT")},
		{Name: "good: PS512", Token: sign(jose.PS512, "rsa", rsaKey, claims(nil), "JWT")},
		{Name: "good: typ JOSE", Token: sign(jose.ES256, "p256", p256, claims(nil), "JOSE")},
		{Name: "good: audience as one string", Token: es256(with("aud", audience))},
		{Name: "good: tier and scopes", Token: es256(claims(func(c map[string]any) { c["tier"], c["scopes"] = "master", []string{"net"} }))},
		{Name: "bad: another signer", Token: sign(jose.ES256, "p256", stranger, claims(nil), "JWT")},
		{Name: "bad: unknown key", Token: sign(jose.ES256, "other", p256, claims(nil), "JWT")},
		{Name: "bad: no key id", Token: sign(jose.ES256, "", p256, claims(nil), "JWT")},
		{Name: "bad: symmetric", Token: sign(jose.HS256, "p256", make([]byte, 32), claims(nil), "JWT")},
		{Name: "bad: another type", Token: sign(jose.ES256, "p256", p256, claims(nil), "at+jwt")},
		{Name: "bad: expired", Token: es256(with("exp", time.Now().Add(-2*time.Minute).Unix()))},
		{Name: "bad: not valid yet", Token: es256(with("nbf", time.Now().Add(5*time.Minute).Unix()))},
		{Name: "bad: issued in the future", Token: es256(with("iat", time.Now().Add(5*time.Minute).Unix()))},
		{Name: "bad: no expiry", Token: es256(without("exp"))},
		{Name: "bad: no subject", Token: es256(without("sub"))},
		{Name: "bad: no audience", Token: es256(without("aud"))},
		{Name: "bad: another audience", Token: es256(with("aud", "other"))},
		{Name: "bad: subject is no SPIFFE ID", Token: es256(with("sub", "workload"))},
		{Name: "bad: subject of another domain", Token: es256(with("sub", "spiffe://other.test/workload"))},
		{Name: "bad: no token", Token: "x.y.z"},
		// go-spiffe takes these and we do not: see sat.ts and jwt-svid.ts for why.
		{Name: "stricter: two audiences", Token: es256(with("aud", []string{audience, "other"}))},
		{Name: "stricter: no time of issue", Token: es256(without("iat"))},
		{Name: "stricter: expired within go-spiffe's leeway of a minute", Token: es256(with("exp", time.Now().Add(-10*time.Second).Unix()))},
	}
	for at := range cases {
		cases[at].Bundle = document
		cases[at].Verdict = verifyJWT(Request{TrustDomain: domainName, Bundle: document, Token: cases[at].Token, Audience: audience})
	}
	return cases, nil
}

func newKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

func newEd25519() crypto.PublicKey {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	must(public, err)
	return public
}

func serial() *big.Int { return must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))) }

// must is for what fails only when this program itself is wrong.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
