package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/flynn/noise"
	"google.golang.org/protobuf/proto"

	"shellstream.test/go-peer/wire"
)

// Record types, §2.
const (
	recordInit      = 1
	recordVerify    = 2
	recordConfirm   = 3
	recordRefused   = 4
	recordTransport = 16
)

// Wish is what an initiator asks for in an attestation.
type Wish struct {
	ResponderID  string
	Type         wire.SessionType
	Mode         wire.Mode
	Request      *wire.Request
	Wireguard    *wire.WireguardOffer // without proof; mesh sessions only
	WireguardKey []byte
	Offered      []*wire.Target // of ours, to the responder; mesh sessions only
	Level        uint32
	Epoch        uint64
	// Wrong names one deviation from the specification, for tests of the other side.
	Wrong string
}

// Attestation is one handshake from the initiator's side: Init, Confirm, Accept, in this order.
type Attestation struct {
	wish     Wish
	identity *Identity
	noise    *noise.HandshakeState
	h1       []byte
	secret   []byte
	send     *noise.CipherState
	receive  *noise.CipherState
	h3       []byte
	fresh    bool
	keyHash  []byte // of the responder's WireGuard key
}

func newAttestation(wish Wish, identity *Identity, prologue []byte) *Attestation {
	return &Attestation{wish: wish, identity: identity, noise: newHandshake(true, prologue, identity.static)}
}

// Init makes ATTEST-INIT.
func (a *Attestation) Init() ([]byte, error) {
	payload := must(proto.Marshal(&wire.AttestInit{
		Versions: []uint32{protocolVersion}, SessionType: a.wish.Type, Mode: a.wish.Mode,
	}))
	if a.wish.Wrong == "trailing bytes in ATTEST-INIT" {
		payload = append(payload, 0x00)
	}
	message, _, _, err := a.noise.WriteMessage([]byte{recordInit}, payload)
	a.h1 = hashOf(a.noise)
	return message, err
}

// Confirm judges ATTEST-VERIFY and makes ATTEST-CONFIRM. No token is asked for before the responder is verified.
func (a *Attestation) Confirm(ctx context.Context, record []byte) ([]byte, error) {
	body, err := a.readVerify(record)
	if err != nil {
		return nil, err
	}
	h2 := hashOf(a.noise)
	confirm, err := a.confirmBody(ctx, body, h2)
	if err != nil {
		return nil, err
	}
	encoded := must(proto.Marshal(confirm))
	if a.wish.Wrong == "trailing bytes in ATTEST-CONFIRM" {
		encoded = append(encoded, 0x78, 0x01) // a field 15 that the schema does not have
	}
	svid, err := a.identity.GetX509SVID()
	if err != nil {
		return nil, err
	}
	role := byte(roleInitiator)
	if a.wish.Wrong == "the responder's role in the signature" {
		role = roleResponder
	}
	evidence, err := signEvidence(svid, signedMessage(role, h2, a.identity.static.Public, encoded), encoded)
	if err != nil {
		return nil, err
	}
	message, forward, backward, err := a.noise.WriteMessage([]byte{recordConfirm}, must(proto.Marshal(evidence)))
	a.send, a.receive, a.h3 = forward, backward, hashOf(a.noise)
	return message, err
}

func (a *Attestation) readVerify(record []byte) (*wire.VerifyBody, error) {
	if record[0] != recordVerify {
		return nil, refuse(UnexpectedRecord, "record %d instead of ATTEST-VERIFY", record[0])
	}
	payload, _, _, err := a.noise.ReadMessage(nil, record[1:])
	if err != nil {
		return nil, unauthenticated(err)
	}
	evidence, err := parseEvidence(payload)
	if err != nil {
		return nil, err
	}
	message := signedMessage(roleResponder, a.h1, a.noise.PeerStatic(), evidence.Body)
	id, err := verifyEvidence(evidence, message, a.identity)
	if err != nil {
		return nil, err
	}
	if id.String() != a.wish.ResponderID {
		return nil, refuse(NotAuthenticated, "%s instead of %s", id, a.wish.ResponderID)
	}
	body, err := parse(&wire.VerifyBody{}, evidence.Body)
	switch {
	case err != nil:
		return nil, err
	case len(body.Nonce) != 32:
		return nil, malformed(fmt.Errorf("a nonce of %d bytes", len(body.Nonce)))
	case body.Denial != 0:
		return nil, &Refusal{Reason: body.Denial, Told: "ATTEST-VERIFY"}
	case (a.wish.Type == wire.SessionType_SESSION_TYPE_MESH) != (len(body.WireguardHash) == 32):
		return nil, malformed(fmt.Errorf("a WireGuard hash of %d bytes", len(body.WireguardHash)))
	case body.Version != protocolVersion:
		return nil, refuse(NoCommonVersion, "version %d", body.Version)
	}
	a.keyHash = body.WireguardHash
	return body, nil
}

func (a *Attestation) confirmBody(ctx context.Context, verify *wire.VerifyBody, h2 []byte) (*wire.ConfirmBody, error) {
	audience := a.wish.ResponderID
	a.fresh = verify.FreshSat || a.wish.Level <= 3
	if a.fresh && a.wish.Wrong != "the plain audience" {
		audience = boundAudience(audience, h2)
	}
	token, err := a.identity.token(ctx, audience)
	if err != nil {
		return nil, err
	}
	a.secret = randomBytes(32)
	body := &wire.ConfirmBody{
		Versions: []uint32{protocolVersion}, SessionType: a.wish.Type, Mode: a.wish.Mode,
		Nonce: verify.Nonce, ResponderId: a.wish.ResponderID, Sat: token,
		PostureLevel: a.wish.Level, PostureEpoch: a.wish.Epoch, Request: a.wish.Request, Secret: a.secret,
		Offered: a.wish.Offered,
	}
	if a.wish.Wireguard != nil {
		body.Wireguard, err = makeOffer(a.wish.Wireguard, a.wish.WireguardKey, a.noise.PeerEphemeral(), h2)
	}
	switch a.wish.Wrong {
	case "another nonce":
		body.Nonce = randomBytes(32)
	case "another responder":
		body.ResponderId = "spiffe://site-b.test/another"
	case "another session type":
		body.SessionType = wire.SessionType_SESSION_TYPE_WORKLOAD
	case "another's WireGuard key":
		body.Wireguard.PublicKey = randomBytes(32)
	}
	return body, err
}

// Accepted is what an attestation gives: both ends hold the same.
type Accepted struct {
	Grant   *wire.Grant
	Secrets Secrets
}

// Accept judges a grant against what was asked for.
func (a *Attestation) Accept(grant *wire.Grant) (*Accepted, error) {
	if err := a.checkGrant(grant); err != nil {
		return nil, err
	}
	if a.wish.Wireguard != nil {
		if err := checkOffer(grant.Wireguard, a.noise.LocalEphemeral(), a.h3); err != nil {
			return nil, err
		}
		if !bytes.Equal(wireguardHash(grant.Wireguard.PublicKey), a.keyHash) {
			return nil, refuse(NotAuthenticated, "not the WireGuard key that the responder signed for")
		}
		if bytes.Equal(grant.Wireguard.PublicKey, a.wish.Wireguard.PublicKey) {
			return nil, refuse(NotAuthenticated, "our own WireGuard key comes back")
		}
	}
	return &Accepted{Grant: grant, Secrets: deriveSecrets(a.h3, a.secret, grant.Secret, true)}, nil
}

// checkGrant refuses one that is wider than the request or lacks what must be there, §3.6.
func (a *Attestation) checkGrant(grant *wire.Grant) error {
	asked := a.wish.Request
	mesh := a.wish.Type == wire.SessionType_SESSION_TYPE_MESH
	connect := slices.Contains(grant.Capabilities, wire.Capability_CAPABILITY_CONNECT)
	switch {
	case grant.Mode != a.wish.Mode:
		return malformed(fmt.Errorf("mode %s", grant.Mode))
	case len(grant.Capabilities) == 0 || !distinct(grant.Capabilities) || !subset(grant.Capabilities, asked.Capabilities):
		return malformed(fmt.Errorf("capabilities %v", grant.Capabilities))
	case !within(grant.Targets, asked.Targets) || (len(grant.Targets) > 0 && !connect):
		return malformed(fmt.Errorf("targets %v", grant.Targets))
	case mesh != (grant.Wireguard != nil) || (!mesh && len(grant.Advertise)+len(grant.Reachable) > 0):
		return malformed(fmt.Errorf("mesh fields"))
	case mesh && !within(grant.Reachable, reachableOf(a.wish)):
		return malformed(fmt.Errorf("reachable %v", grant.Reachable))
	case grant.LifetimeMs < 1 || grant.LifetimeMs > 1<<53-1:
		return malformed(fmt.Errorf("lifetime %d", grant.LifetimeMs))
	case grant.PostureLevel < 1 || grant.PostureLevel > 5 || grant.EffectiveLevel != min(grant.PostureLevel, a.wish.Level):
		return malformed(fmt.Errorf("levels %d, %d", grant.PostureLevel, grant.EffectiveLevel))
	case len(grant.Secret) != 32 || len(grant.AccordHash) != 32:
		return malformed(fmt.Errorf("lengths"))
	}
	return nil
}

// reachableOf is everything of an initiator that a grant may make reachable.
func reachableOf(wish Wish) []*wire.Prefix {
	all := slices.Clone(wish.Request.Advertise)
	for _, address := range wish.Wireguard.Addresses {
		all = append(all, &wire.Prefix{Address: address, Length: uint32(8 * len(address))})
	}
	return all
}

func distinct[E comparable](list []E) bool {
	for at, element := range list {
		if slices.Contains(list[:at], element) {
			return false
		}
	}
	return true
}

func subset[E comparable](part, whole []E) bool {
	return !slices.ContainsFunc(part, func(element E) bool { return !slices.Contains(whole, element) })
}

func within[M proto.Message](part, whole []M) bool {
	return !slices.ContainsFunc(part, func(element M) bool {
		return !slices.ContainsFunc(whole, func(other M) bool { return proto.Equal(element, other) })
	})
}
