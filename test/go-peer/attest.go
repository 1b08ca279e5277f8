package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/flynn/noise"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"shellstream.test/go-peer/wire"
)

// What both ends compute alike: §3.1, §3.5, §3.7 and §3.8.

const (
	prologue         = "shellstream/1"
	reattestPrologue = "shellstream/1 reattest"
	protocolVersion  = 1

	roleInitiator = 0x01
	roleResponder = 0x02
)

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256)

func newHandshake(initiator bool, prologue []byte, static noise.DHKey) *noise.HandshakeState {
	return must(noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeXX, Initiator: initiator, Prologue: prologue, StaticKeypair: static,
	}))
}

// hashOf copies: the library goes on in the same array.
func hashOf(state *noise.HandshakeState) []byte { return bytes.Clone(state.ChannelBinding()) }

func signedMessage(role byte, h, static, body []byte) []byte {
	hashed := sha256.Sum256(body)
	message := append(bytes.Repeat([]byte{0x20}, 64), "shellstream/1 attest\x00"...)
	message = append(append(append(message, role), h...), static...)
	return append(message, hashed[:]...)
}

func signEvidence(svid *x509svid.SVID, message, body []byte) (*wire.Evidence, error) {
	digest, options, err := digestFor(svid.Certificates[0].PublicKey, message)
	if err != nil {
		return nil, err
	}
	signature, err := svid.PrivateKey.Sign(rand.Reader, digest, options)
	if err != nil {
		return nil, err
	}
	evidence := &wire.Evidence{Signature: signature, Body: body}
	for _, certificate := range svid.Certificates {
		evidence.Chain = append(evidence.Chain, certificate.Raw)
	}
	return evidence, nil
}

func digestFor(key crypto.PublicKey, message []byte) ([]byte, crypto.SignerOpts, error) {
	hashed := sha256.Sum256(message)
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P384() {
			hashed := sha512.Sum384(message)
			return hashed[:], crypto.SHA384, nil
		}
		if key.Curve == elliptic.P256() {
			return hashed[:], crypto.SHA256, nil
		}
	case *rsa.PublicKey:
		if key.Size() >= 256 {
			return hashed[:], &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}, nil
		}
	case ed25519.PublicKey:
		return message, crypto.Hash(0), nil
	}
	return nil, nil, fmt.Errorf("no algorithm for a key of type %T", key)
}

func verifySignature(key crypto.PublicKey, message, signature []byte) error {
	digest, options, err := digestFor(key, message)
	if err != nil {
		return err
	}
	valid := false
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(key, digest, signature)
	case *rsa.PublicKey:
		valid = rsa.VerifyPSS(key, crypto.SHA256, digest, signature, options.(*rsa.PSSOptions)) == nil
	case ed25519.PublicKey:
		valid = ed25519.Verify(key, digest, signature)
	}
	if !valid {
		return errors.New("the signature does not verify")
	}
	return nil
}

// parseEvidence applies the limits of §3 only; nothing in it is believed yet.
func parseEvidence(payload []byte) (*wire.Evidence, error) {
	if len(payload) > 65_000 {
		return nil, malformed(errors.New("evidence too long"))
	}
	evidence, err := parse(&wire.Evidence{}, payload)
	if err != nil {
		return nil, err
	}
	fits := len(evidence.Chain) >= 1 && len(evidence.Chain) <= 8 && len(evidence.Signature) <= 1024 && len(evidence.Body) <= 32_768
	for _, certificate := range evidence.Chain {
		fits = fits && len(certificate) <= 16_384
	}
	if !fits {
		return nil, malformed(errors.New("evidence beyond its limits"))
	}
	return evidence, nil
}

// verifyEvidence returns whose evidence it is.
func verifyEvidence(evidence *wire.Evidence, message []byte, bundles x509bundle.Source, options ...x509svid.VerifyOption) (spiffeid.ID, error) {
	var chain []*x509.Certificate
	for _, der := range evidence.Chain {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return spiffeid.ID{}, unauthenticated(err)
		}
		chain = append(chain, certificate)
	}
	id, _, err := x509svid.Verify(chain, bundles, options...)
	if err == nil {
		err = verifySignature(chain[0].PublicKey, message, evidence.Signature)
	}
	if err != nil {
		return spiffeid.ID{}, unauthenticated(err)
	}
	return id, nil
}

func boundAudience(responder string, h2 []byte) string {
	hashed := sha256.Sum256(append([]byte("shellstream/1 sat"), h2...))
	return responder + "#" + base64.RawURLEncoding.EncodeToString(hashed[:])
}

// Secrets of one attestation, §3.7.
type Secrets struct {
	PresharedKey, SessionID, Reattest []byte
}

func deriveSecrets(h3, ours, theirs []byte, initiator bool) Secrets {
	if !initiator {
		ours, theirs = theirs, ours
	}
	material := append(bytes.Clone(ours), theirs...)
	derive := func(info string, length int) []byte {
		return must(hkdf.Key(sha256.New, material, h3, info, length))
	}
	return Secrets{derive("wireguard psk", 32), derive("session id", 16), derive("reattest", 32)}
}

func wireguardShared(private, public []byte) ([]byte, error) {
	return noise.DH25519.DH(private, public)
}

// wireguardHash is what ATTEST-VERIFY says of the responder's key, §3.3.
func wireguardHash(public []byte) []byte {
	sum := sha256.Sum256(append([]byte("shellstream/1 wg"), public...))
	return sum[:]
}

func wireguardProof(shared, h []byte) []byte {
	mac := hmac.New(sha256.New, shared)
	mac.Write([]byte("shellstream/1 wg"))
	mac.Write(h)
	return mac.Sum(nil)
}

// checkOffer proves that the sender of the offer holds its key: ephemeral is our own of this handshake.
func checkOffer(offer *wire.WireguardOffer, ephemeral noise.DHKey, h []byte) error {
	if offer == nil || len(offer.PublicKey) != 32 || len(offer.Proof) != 32 || len(offer.Addresses) < 1 ||
		len(offer.Addresses) > 8 || offer.Port > 65_535 {
		return malformed(errors.New("WireGuard offer"))
	}
	for _, address := range offer.Addresses {
		if len(address) != 4 && len(address) != 16 {
			return malformed(errors.New("tunnel address"))
		}
	}
	shared, err := wireguardShared(ephemeral.Private, offer.PublicKey)
	if err != nil || !hmac.Equal(wireguardProof(shared, h), offer.Proof) {
		return unauthenticated(errors.New("the WireGuard key is not proved"))
	}
	return nil
}

// makeOffer completes an offer whose key, port and addresses are ours.
func makeOffer(plain *wire.WireguardOffer, private, peerEphemeral, h []byte) (*wire.WireguardOffer, error) {
	shared, err := wireguardShared(private, peerEphemeral)
	if err != nil {
		return nil, unauthenticated(err)
	}
	return &wire.WireguardOffer{PublicKey: plain.PublicKey, Port: plain.Port, Addresses: plain.Addresses, Proof: wireguardProof(shared, h)}, nil
}

func randomBytes(length int) []byte {
	made := make([]byte, length)
	must(rand.Read(made))
	return made
}

// must is for what fails only when this program itself is wrong.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
