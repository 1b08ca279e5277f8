package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/flynn/noise"
	"google.golang.org/protobuf/proto"

	"shellstream.test/go-peer/wire"
)

// Admission is one handshake from the responder's side: Verify, Decide, Grant, in this order. It grants the targets
// that are asked for, with CONNECT, to whoever proves to be somebody: rules are not what this program is there to show.
type Admission struct {
	identity *Identity
	noise    *noise.HandshakeState
	lifetime uint64
	level    uint32
	epoch    uint64
	former   *former
	wrong    string

	init    *wire.AttestInit
	nonce   []byte
	send    *noise.CipherState
	receive *noise.CipherState
	confirm *wire.ConfirmBody
	peer    string
}

// former is what a re-attestation must not change, §4.4.
type former struct {
	peer string
	kind wire.SessionType
}

func newAdmission(identity *Identity, prologue []byte, lifetime uint64, level uint32, epoch uint64) *Admission {
	return &Admission{
		identity: identity, noise: newHandshake(false, prologue, identity.static), lifetime: lifetime, level: level, epoch: epoch,
	}
}

// Verify reads ATTEST-INIT and makes ATTEST-VERIFY.
func (a *Admission) Verify(record []byte) ([]byte, error) {
	if record[0] != recordInit {
		return nil, refuse(UnexpectedRecord, "record %d instead of ATTEST-INIT", record[0])
	}
	payload, _, _, err := a.noise.ReadMessage(nil, record[1:])
	if err != nil {
		return nil, malformed(err)
	}
	h1 := hashOf(a.noise)
	if len(payload) > 256 {
		return nil, malformed(fmt.Errorf("AttestInit of %d bytes", len(payload)))
	}
	if a.init, err = parse(&wire.AttestInit{}, payload); err != nil {
		return nil, err
	}
	if len(a.init.Versions) < 1 || len(a.init.Versions) > 8 {
		return nil, malformed(fmt.Errorf("%d versions", len(a.init.Versions)))
	}
	if !slices.Contains(a.init.Versions, protocolVersion) {
		return nil, refuse(NoCommonVersion, "versions %v", a.init.Versions)
	}
	a.nonce = randomBytes(32)
	body := must(proto.Marshal(&wire.VerifyBody{Version: protocolVersion, Nonce: a.nonce, FreshSat: a.level <= 3}))
	svid, err := a.identity.GetX509SVID()
	if err != nil {
		return nil, err
	}
	if a.wrong == "a signature over another hash" {
		h1 = randomBytes(32)
	}
	evidence, err := signEvidence(svid, signedMessage(roleResponder, h1, a.identity.static.Public, body), body)
	if err != nil {
		return nil, err
	}
	message, _, _, err := a.noise.WriteMessage([]byte{recordVerify}, must(proto.Marshal(evidence)))
	return message, err
}

// Open decrypts ATTEST-CONFIRM. What fails here is told by REFUSED, what fails in Decide by DENY.
func (a *Admission) Open(record []byte) (*wire.Evidence, []byte, error) {
	if record[0] != recordConfirm {
		return nil, nil, refuse(UnexpectedRecord, "record %d instead of ATTEST-CONFIRM", record[0])
	}
	h2 := hashOf(a.noise)
	payload, forward, backward, err := a.noise.ReadMessage(nil, record[1:])
	if err != nil {
		return nil, nil, unauthenticated(err)
	}
	a.receive, a.send = forward, backward
	evidence, err := parseEvidence(payload)
	return evidence, h2, err
}

// Decide judges the evidence and what is asked for, and returns the grant.
func (a *Admission) Decide(ctx context.Context, evidence *wire.Evidence, h2 []byte) (*wire.Grant, error) {
	id, err := verifyEvidence(evidence, signedMessage(roleInitiator, h2, a.noise.PeerStatic(), evidence.Body), a.identity)
	if err != nil {
		return nil, err
	}
	body, err := parse(&wire.ConfirmBody{}, evidence.Body)
	if err != nil {
		return nil, err
	}
	if err := a.checkBody(body); err != nil {
		return nil, err
	}
	if a.former != nil && (a.former.peer != id.String() || a.former.kind != body.SessionType) {
		return nil, refuse(IdentityChanged, "%s, %s", id, body.SessionType)
	}
	if err := a.checkToken(ctx, body, id.String(), h2); err != nil {
		return nil, err
	}
	a.confirm, a.peer = body, id.String()
	return a.grant(body)
}

func (a *Admission) checkBody(body *wire.ConfirmBody) error {
	own, err := a.identity.GetX509SVID()
	switch {
	case err != nil:
		return err
	case len(body.Secret) != 32 || len(body.Nonce) != 32 || len(body.Sat) > 8192 || body.Request == nil:
		return malformed(fmt.Errorf("lengths"))
	case body.PostureLevel < 1 || body.PostureLevel > 5:
		return malformed(fmt.Errorf("level %d", body.PostureLevel))
	case body.Wireguard != nil || body.SessionType == wire.SessionType_SESSION_TYPE_MESH:
		return refuse(TypeNotAllowed, "no mesh sessions here")
	case !slices.Equal(body.Versions, a.init.Versions) || body.SessionType != a.init.SessionType || body.Mode != a.init.Mode:
		return refuse(NotAuthenticated, "not what ATTEST-INIT said")
	case subtle.ConstantTimeCompare(body.Nonce, a.nonce) != 1:
		return refuse(NotAuthenticated, "another nonce")
	case body.ResponderId != own.ID.String():
		return refuse(NotAuthenticated, "meant for %s", body.ResponderId)
	}
	return nil
}

func (a *Admission) checkToken(ctx context.Context, body *wire.ConfirmBody, subject string, h2 []byte) error {
	bound := boundAudience(body.ResponderId, h2)
	if err := a.identity.checkToken(ctx, body.Sat, subject, []string{bound}); err == nil {
		return nil
	}
	err := a.identity.checkToken(ctx, body.Sat, subject, []string{body.ResponderId})
	if err == nil && min(a.level, body.PostureLevel) <= 3 {
		return refuse(SatNotFresh, "a plain token at level %d", min(a.level, body.PostureLevel))
	}
	return err
}

func (a *Admission) grant(body *wire.ConfirmBody) (*wire.Grant, error) {
	var capabilities []wire.Capability
	var targets []*wire.Target
	for _, asked := range body.Request.Capabilities {
		if asked == wire.Capability_CAPABILITY_CONNECT || asked == wire.Capability_CAPABILITY_OBSERVE {
			capabilities = append(capabilities, asked)
		}
	}
	if len(capabilities) == 0 {
		return nil, refuse(NothingLeft, "nothing but %v is asked for", body.Request.Capabilities)
	}
	if slices.Contains(capabilities, wire.Capability_CAPABILITY_CONNECT) {
		targets = body.Request.Targets
	}
	if a.wrong == "a grant wider than the request" {
		targets = append(targets, &wire.Target{Prefix: &wire.Prefix{Address: []byte{10, 9, 9, 9}, Length: 32}, Protocol: 6, Port: 1})
	}
	governor := wire.Governor_GOVERNOR_BOTH
	if a.level < body.PostureLevel {
		governor = wire.Governor_GOVERNOR_RESPONDER
	} else if body.PostureLevel < a.level {
		governor = wire.Governor_GOVERNOR_INITIATOR
	}
	return &wire.Grant{
		Mode: body.Mode, Capabilities: capabilities, Targets: targets, LifetimeMs: a.lifetime,
		EffectiveLevel: min(a.level, body.PostureLevel), GovernedBy: governor, PostureLevel: a.level, PostureEpoch: a.epoch,
		AccordHash: randomBytes(32), Secret: randomBytes(32),
	}, nil
}

// Secrets of the session that the grant opens.
func (a *Admission) Secrets(grant *wire.Grant) Secrets {
	return deriveSecrets(hashOf(a.noise), grant.Secret, a.confirm.Secret, false)
}
