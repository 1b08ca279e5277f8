package main

import (
	"context"
	"fmt"
	"time"

	"shellstream.test/go-peer/wire"
)

// inner is the attestation inside the session that is under way, if any, §4.4.
type inner struct {
	attestation *Attestation
	admission   *Admission
	confirmed   bool // ATTEST-VERIFY, or ATTEST-CONFIRM, was read
	sent        bool // ATTEST-CONFIRM was sent
	clock       *time.Timer
	repeats     bool // a test's: this end sends its last record of the next handshake twice
}

// beginReattest starts a new handshake inside the channel. One that runs already counts.
func (s *Session) beginReattest() {
	if s.inner.attestation != nil || s.over != nil || s.drain.reason != 0 {
		return
	}
	wish := s.wish
	wish.Level, wish.Epoch = s.ownLevel, s.ownEpoch
	s.wish = wish
	attestation := newAttestation(wish, s.identity, append([]byte(reattestPrologue), s.secrets.Reattest...))
	record, err := attestation.Init()
	if err != nil {
		s.end(err)
		return
	}
	s.inner = inner{attestation: attestation, clock: s.after(handshakeEnd, s.tooLate), repeats: s.inner.repeats}
	s.tell(frameReattest, &wire.Reattest{Record: record})
}

func (s *Session) tooLate() { s.end(refuse(HandshakeTimeout, "the re-attestation takes too long")) }

func (s *Session) takeReattest(reattest *wire.Reattest) error {
	if len(reattest.Record) < 1 || len(reattest.Record) > 65_500 {
		return malformed(fmt.Errorf("REATTEST of %d bytes", len(reattest.Record)))
	}
	if s.initiator {
		return s.takeInnerVerify(reattest.Record)
	}
	return s.takeInner(reattest.Record)
}

// takeInnerVerify makes ATTEST-CONFIRM beside the reader, for a token takes time. It is the last frame under the old key.
func (s *Session) takeInnerVerify(record []byte) error {
	attestation := s.inner.attestation
	if attestation == nil || s.inner.confirmed {
		return refuse(UnexpectedRecord, "REATTEST")
	}
	s.inner.confirmed = true
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeEnd)
		defer cancel()
		confirm, err := attestation.Confirm(ctx, record)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.end(ours(err))
			return
		}
		s.tell(frameReattest, &wire.Reattest{Record: confirm})
		s.seal(attestation.send)
		if s.inner.repeats {
			s.tell(frameReattest, &wire.Reattest{Record: confirm})
		}
		s.inner.sent = true
	}()
	return nil
}

// ours makes a reason that the peer told in the inner handshake one that we tell in CLOSE.
func ours(err error) error { return refuse(reasonOf(err), "re-attestation: %v", err) }

func (s *Session) takeGrant(grant *wire.Grant) error {
	attestation := s.inner.attestation
	if attestation == nil || !s.inner.sent {
		return refuse(UnexpectedRecord, "GRANT")
	}
	accepted, err := attestation.Accept(grant)
	if err != nil {
		return err
	}
	s.receive = attestation.receive
	s.inner.clock.Stop()
	s.inner = inner{}
	s.adopt(accepted.Grant, accepted.Secrets)
	s.note(Event{Event: "GRANT", Generation: s.generation, Level: grant.EffectiveLevel, Fresh: attestation.fresh})
	if s.tunnel != nil {
		s.swapTunnel()
	}
	return nil
}

func (s *Session) takeDeny(deny *wire.Deny) error {
	attestation := s.inner.attestation
	if attestation == nil || !s.inner.sent || deny.Reason == 0 {
		return refuse(UnexpectedRecord, "DENY")
	}
	return ours(&Refusal{Reason: deny.Reason, Told: "DENY"})
}

// takeInner is the responder's side. After ATTEST-CONFIRM the initiator sends under its new key, so the reader changes at once.
func (s *Session) takeInner(record []byte) error {
	if s.inner.admission == nil {
		first := s.host.admission
		admission := newAdmission(s.identity, append([]byte(reattestPrologue), s.secrets.Reattest...), first.lifetime, s.ownLevel, s.ownEpoch)
		admission.former = &s.host.former
		verify, err := admission.Verify(record)
		if err != nil {
			return err
		}
		if s.inner.repeats {
			s.tell(frameReattest, &wire.Reattest{Record: verify})
		}
		s.inner = inner{admission: admission, clock: s.after(handshakeEnd, s.tooLate)}
		s.tell(frameReattest, &wire.Reattest{Record: verify})
		return nil
	}
	if s.inner.confirmed {
		return refuse(UnexpectedRecord, "REATTEST")
	}
	s.inner.confirmed = true
	admission := s.inner.admission
	evidence, h2, err := admission.Open(record)
	if err != nil {
		return err
	}
	s.receive = admission.receive
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), handshakeEnd)
		defer cancel()
		grant, err := admission.Decide(ctx, evidence, h2)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.end(err)
			return
		}
		s.inner.clock.Stop()
		s.inner = inner{}
		s.tell(frameGrant, grant)
		s.seal(admission.send)
		s.adopt(grant, admission.Secrets(grant))
		s.note(Event{Event: "reattested", Generation: s.generation, Level: grant.EffectiveLevel})
	}()
	return nil
}

// watchRotation attests again when the Workload API gives another SVID.
func (s *Session) watchRotation() {
	serial := func() string {
		svid, err := s.identity.GetX509SVID()
		if err != nil {
			return ""
		}
		return svid.Certificates[0].SerialNumber.String()
	}
	for last := serial(); ; {
		<-s.identity.Updated()
		s.mu.Lock()
		over := s.over != nil
		if now := serial(); now != last && !over {
			last = now
			s.beginReattest()
		}
		s.mu.Unlock()
		if over {
			return
		}
	}
}
