package main

import (
	"errors"
	"fmt"
)

// Reason codes of §5 that this program says itself.
const (
	Malformed        = 100
	UnexpectedRecord = 101
	NoCommonVersion  = 103
	HandshakeTimeout = 105
	NotAuthenticated = 200
	SatNotFresh      = 215
	IdentityChanged  = 221
	TypeNotAllowed   = 311
	NothingLeft      = 313
	TargetNotAllowed = 314
	NotGranted       = 318
	StreamLimit      = 403
	WindowExceeded   = 404
	TunnelFailed     = 502
	Unreachable      = 505
	Closed           = 600
	Expired          = 601
	PostureEnd       = 604
	OperatorDrain    = 605
	PeerSilent       = 606
	ConnectionLost   = 607
	Internal         = 900
)

// Refusal is a fault with its reason code. Told says by which record the peer told it; empty: it is our own judgement.
type Refusal struct {
	Reason uint32
	Told   string
	Why    error
}

func (r *Refusal) Error() string {
	if r.Told != "" {
		return fmt.Sprintf("%s %d", r.Told, r.Reason)
	}
	return fmt.Sprintf("%d: %v", r.Reason, r.Why)
}

func (r *Refusal) Unwrap() error { return r.Why }

func refuse(reason uint32, why string, args ...any) error {
	return &Refusal{Reason: reason, Why: fmt.Errorf(why, args...)}
}

func malformed(why error) error { return &Refusal{Reason: Malformed, Why: why} }

func unauthenticated(why error) error { return &Refusal{Reason: NotAuthenticated, Why: why} }

// reasonOf is what the wire is told about an error.
func reasonOf(err error) uint32 {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return refusal.Reason
	}
	return Internal
}
