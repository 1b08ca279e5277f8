package main

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/flynn/noise"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/protobuf/proto"

	"shellstream.test/go-peer/wire"
)

// Replay recomputes the session of protocol/vectors/session from its inputs as both parties, and compares each value.
type Replay struct {
	inputs  Inputs
	mesh    Mesh
	bundles *x509bundle.Set
	checked []string
	wrong   []string
}

// replay answers with the names of what was compared, and of what differs.
func replay(folder string) (any, error) {
	r := &Replay{bundles: x509bundle.NewSet()}
	for name, into := range map[string]any{"inputs.json": &r.inputs, "mesh.json": &r.mesh} {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, into); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, party := range []Party{r.inputs.Initiator, r.inputs.Responder} {
		bundle := x509bundle.New(spiffeid.RequireTrustDomainFromString(party.TrustDomain.Name))
		for _, authority := range party.TrustDomain.X509Authorities {
			bundle.AddX509Authority(must(x509.ParseCertificate(authority)))
		}
		r.bundles.Add(bundle)
	}
	var keys [][2][]byte
	former := []byte(nil)
	for at := range r.mesh.Attestations {
		derived, err := r.attestation(at, former)
		if err != nil {
			return nil, fmt.Errorf("attestation %d: %w", at, err)
		}
		former = derived.reattest
		keys = append(keys, derived.keys)
	}
	if err := r.frames(keys); err != nil {
		return nil, err
	}
	return map[string]any{"checked": len(r.checked), "names": r.checked, "wrong": r.wrong}, nil
}

func (r *Replay) same(at int, name string, computed, expected []byte) {
	name = fmt.Sprintf("%d %s", at, name)
	r.checked = append(r.checked, name)
	if len(expected) == 0 || !bytes.Equal(computed, expected) {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: %x instead of %x", name, computed, expected))
	}
}

func (r *Replay) holds(at int, name string, err error) {
	name = fmt.Sprintf("%d %s", at, name)
	r.checked = append(r.checked, name)
	if err != nil {
		r.wrong = append(r.wrong, fmt.Sprintf("%s: %v", name, err))
	}
}

type derived struct {
	reattest []byte
	keys     [2][]byte
}

func (r *Replay) attestation(at int, reattest []byte) (derived, error) {
	vector, inputs := r.mesh.Attestations[at], r.inputs
	opening := []byte(prologue)
	if at > 0 {
		opening = append([]byte(reattestPrologue), reattest...)
	}
	r.same(at, "prologue", opening, vector.Prologue)
	initiator, responder := inputs.Initiator.state(true, at, opening), inputs.Responder.state(false, at, opening)

	init := &wire.AttestInit{Versions: []uint32{1}, SessionType: wire.SessionType_SESSION_TYPE_MESH, Mode: wire.Mode_MODE_OVERLAY}
	payload := must(proto.Marshal(init))
	r.same(at, "AttestInit", payload, vector.Init.Payload)
	r.pass(at, "ATTEST-INIT", recordInit, payload, vector.Init.Record, initiator, responder)
	h1 := hashOf(initiator)
	r.same(at, "h1", h1, vector.Init.H1)

	theirKey := must(wireguardShared(inputs.Responder.Wireguard.Private, append([]byte{9}, make([]byte, 31)...)))
	verify := must(proto.Marshal(&wire.VerifyBody{
		Version: 1, Nonce: inputs.Nonces[at], FreshSat: at > 0, WireguardHash: wireguardHash(theirKey),
	}))
	r.same(at, "VerifyBody", verify, vector.Verify.Evidence.Body)
	payload = r.evidence(at, inputs.Responder, roleResponder, h1, vector.Verify.Evidence)
	r.pass(at, "ATTEST-VERIFY", recordVerify, payload, vector.Verify.Record, responder, initiator)
	h2 := hashOf(initiator)
	r.same(at, "h2", h2, vector.Verify.H2)

	confirm, err := parse(&wire.ConfirmBody{}, vector.Confirm.Evidence.Body)
	if err != nil {
		return derived{}, err
	}
	r.token(at, h2, confirm.Sat)
	ours, theirs := inputs.Initiator, inputs.Responder
	r.offer(at, "initiator", ours, responder.LocalEphemeral(), initiator.PeerEphemeral(), h2, confirm.Wireguard, vector.Wireguard.Initiator)
	confirm = &wire.ConfirmBody{
		Versions: []uint32{1}, SessionType: init.SessionType, Mode: init.Mode, Nonce: inputs.Nonces[at],
		ResponderId: theirs.SpiffeID, Sat: vector.Sat.Token, PostureLevel: 5, PostureEpoch: ours.PostureEpoch,
		Request: confirm.Request, Wireguard: confirm.Wireguard, Secret: ours.Secrets[at],
	}
	r.same(at, "ConfirmBody", must(proto.Marshal(confirm)), vector.Confirm.Evidence.Body)
	payload = r.evidence(at, ours, roleInitiator, h2, vector.Confirm.Evidence)
	forward, backward := r.pass(at, "ATTEST-CONFIRM", recordConfirm, payload, vector.Confirm.Record, initiator, responder)
	h3 := hashOf(initiator)
	r.same(at, "h3", h3, vector.Confirm.H3)

	grant, err := r.grant(at)
	if err != nil {
		return derived{}, err
	}
	r.offer(at, "responder", theirs, initiator.LocalEphemeral(), responder.PeerEphemeral(), h3, grant.Wireguard, vector.Wireguard.Responder)
	r.same(at, "r_r", grant.Secret, theirs.Secrets[at])
	secrets := deriveSecrets(h3, ours.Secrets[at], grant.Secret, true)
	r.same(at, "pre-shared key", secrets.PresharedKey, vector.Secrets.PresharedKey)
	r.same(at, "session id", secrets.SessionID, vector.Secrets.SessionID)
	r.same(at, "reattest secret", secrets.Reattest, vector.Secrets.Reattest)
	there, back := forward.UnsafeKey(), backward.UnsafeKey()
	r.same(at, "key there", there[:], vector.TransportKeys.InitiatorToResponder)
	r.same(at, "key back", back[:], vector.TransportKeys.ResponderToInitiator)
	return derived{secrets.Reattest, [2][]byte{there[:], back[:]}}, nil
}

// pass writes a message at one end, compares the record, and reads it at the other.
func (r *Replay) pass(at int, name string, kind byte, payload, expected []byte, from, to *noise.HandshakeState) (*noise.CipherState, *noise.CipherState) {
	record, forward, backward, err := from.WriteMessage([]byte{kind}, payload)
	r.holds(at, name+" is written", err)
	r.same(at, name, record, expected)
	got, _, _, err := to.ReadMessage(nil, expected[1:])
	r.holds(at, name+" is read", err)
	r.same(at, name+" as read", got, payload)
	return forward, backward
}

// evidence is what a party sends: its chain, the signature of the vector, which we verify and cannot make, and the body.
func (r *Replay) evidence(at int, party Party, role byte, h []byte, vector EvidenceVector) []byte {
	message := signedMessage(role, h, party.static().Public, vector.Body)
	r.same(at, party.SpiffeID+" signs", message, vector.SignedMessage)
	evidence := &wire.Evidence{Signature: vector.Signature, Body: vector.Body}
	for _, certificate := range party.Svid.Chain {
		evidence.Chain = append(evidence.Chain, certificate)
	}
	payload := must(proto.Marshal(evidence))
	parsed, err := parseEvidence(payload)
	if err == nil {
		var id spiffeid.ID
		id, err = verifyEvidence(parsed, message, r.bundles, x509svid.WithTime(r.inputs.VerifyAt))
		r.same(at, "who signs", []byte(id.String()), []byte(party.SpiffeID))
	}
	r.holds(at, party.SpiffeID+" is verified", err)
	return payload
}

func (r *Replay) token(at int, h2 []byte, token string) {
	vector, inputs := r.mesh.Attestations[at].Sat, r.inputs
	r.same(at, "bound audience", []byte(boundAudience(inputs.Responder.SpiffeID, h2)), []byte(vector.BoundAudience))
	r.same(at, "SAT", []byte(token), []byte(vector.Token))
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	var claims jwt.Claims
	if err == nil {
		err = parsed.Claims(inputs.Sat.JwtBundle.Key(inputs.Sat.KeyID)[0].Key, &claims)
	}
	if err == nil {
		err = claims.ValidateWithLeeway(jwt.Expected{Subject: inputs.Initiator.SpiffeID, AnyAudience: jwt.Audience{vector.Audience}, Time: inputs.VerifyAt}, 0)
	}
	if err == nil && len(claims.Audience) != 1 {
		err = fmt.Errorf("audiences %v", claims.Audience)
	}
	r.holds(at, "the SAT verifies", err)
}

// offer computes a WireGuard offer as its sender does and judges it as its receiver does.
func (r *Replay) offer(at int, who string, party Party, receiver noise.DHKey, receiverPublic, h []byte, sent *wire.WireguardOffer, vector OfferVector) {
	shared, err := wireguardShared(party.Wireguard.Private, receiverPublic)
	r.holds(at, who+" shares", err)
	r.same(at, who+" shared secret", shared, vector.Shared)
	r.same(at, who+" proof", wireguardProof(shared, h), vector.Proof)
	r.same(at, who+" proof as sent", sent.Proof, vector.Proof)
	r.holds(at, who+" offer", checkOffer(sent, receiver, h))
}

// grant is the n-th among the frames: each attestation ends with one.
func (r *Replay) grant(at int) (*wire.Grant, error) {
	for _, frame := range r.mesh.Frames {
		if frame.Frame != "GRANT" {
			continue
		}
		if at == 0 {
			return parse(&wire.Grant{}, frame.Plaintext[1:])
		}
		at--
	}
	return nil, fmt.Errorf("no GRANT")
}

// frames seals each frame again, and says it in our own words again.
func (r *Replay) frames(keys [][2][]byte) error {
	for at, vector := range r.mesh.Frames {
		way := slices.Index([]string{"initiator", "responder"}, vector.From)
		cipher := suite.Cipher([32]byte(keys[vector.Keys][way]))
		r.same(at, vector.Frame+" record", cipher.Encrypt([]byte{recordTransport}, vector.Counter, nil, vector.Plaintext), vector.Record)
		frame, err := parseFrame(vector.Plaintext)
		if err != nil {
			return fmt.Errorf("%s: %w", vector.Frame, err)
		}
		r.same(at, "name", []byte(frameNames[frame.Kind]), []byte(vector.Frame))
		again := encodeData(frame.Stream, frame.Data)
		if frame.Message != nil {
			again = encodeFrame(frame.Kind, frame.Message)
		}
		r.same(at, vector.Frame, again, vector.Plaintext)
	}
	return nil
}

func (p Party) static() noise.DHKey { return keyOf(p.Noise.StaticPrivate) }

func (p Party) state(initiator bool, at int, prologue []byte) *noise.HandshakeState {
	return must(noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Pattern: noise.HandshakeXX, Initiator: initiator, Prologue: prologue, StaticKeypair: p.static(),
		Random: bytes.NewReader(p.Noise.EphemeralPrivates[at]),
	}))
}

func keyOf(private []byte) noise.DHKey { return must(suite.GenerateKeypair(bytes.NewReader(private))) }
