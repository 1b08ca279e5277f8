package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"shellstream.test/go-peer/wire"
)

// Host is the responder's part of a session: it joins targets.
type Host struct {
	session   *Session
	admission *Admission
	former    former
}

// Responder waits for one session at a time.
type Responder struct {
	listener net.Listener
	sessions chan *Session
	failures chan error
}

// serve listens; every attempt ends in sessions or failures.
func serve(address string, identity *Identity, lifetime uint64, wrong string) (*Responder, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	responder := &Responder{listener, make(chan *Session, 8), make(chan error, 8)}
	handler := func(w http.ResponseWriter, r *http.Request) {
		carrier, err := acceptCarrier(w, r)
		if err != nil {
			responder.failures <- err
			return
		}
		admission := newAdmission(identity, []byte(prologue), lifetime, 5, uint64(time.Now().UnixMilli()))
		admission.wrong = wrong
		session, err := admission.welcome(carrier)
		if err != nil {
			responder.failures <- err
			return
		}
		responder.sessions <- session
	}
	go http.Serve(listener, http.HandlerFunc(handler))
	return responder, nil
}

// welcome speaks the handshake as the responder: REFUSED until ATTEST-CONFIRM was read, DENY after it.
func (a *Admission) welcome(carrier *Carrier) (*Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeEnd)
	defer cancel()
	evidence, h2, err := a.meet(ctx, carrier)
	if err != nil {
		carrier.Write(binary.BigEndian.AppendUint16([]byte{recordRefused}, uint16(reasonOf(err))))
		carrier.End()
		return nil, err
	}
	grant, refusal := a.Decide(ctx, evidence, h2)
	answer := encodeFrame(frameGrant, grant)
	if refusal != nil {
		answer = encodeFrame(frameDeny, &wire.Deny{Reason: reasonOf(refusal)})
	}
	sent := carrier.Write(must(a.send.Encrypt([]byte{recordTransport}, nil, answer)))
	if err := errors.Join(refusal, sent); err != nil {
		carrier.End()
		return nil, err
	}
	session := newSession(carrier, a.identity, false, a.send, a.receive)
	session.host = &Host{session: session, admission: a, former: former{peer: a.peer, kind: a.confirm.SessionType}}
	session.ownLevel, session.ownEpoch = a.level, a.epoch
	session.peerLevel, session.peerEpoch = a.confirm.PostureLevel, a.confirm.PostureEpoch
	session.adopt(grant, a.Secrets(grant))
	session.start()
	return session, nil
}

func (a *Admission) meet(ctx context.Context, carrier *Carrier) (*wire.Evidence, []byte, error) {
	init, err := carrier.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	verify, err := a.Verify(init)
	if err != nil {
		return nil, nil, err
	}
	if err := carrier.Write(verify); err != nil {
		return nil, nil, err
	}
	confirm, err := carrier.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	return a.Open(confirm)
}

// join dials the target of a stream beside the reader. The lock is held.
func (h *Host) join(stream *Stream, target *wire.Target) error {
	address, ok := netip.AddrFromSlice(target.GetPrefix().GetAddress())
	if !ok || int(target.Prefix.Length) != address.BitLen() || target.Protocol != 6 || target.Port < 1 || target.Port > 65_535 {
		return malformed(errors.New("the target of a stream is one address, TCP and a port"))
	}
	if !slices.Contains(h.session.grant.Capabilities, wire.Capability_CAPABILITY_CONNECT) {
		stream.closeLocked(NotGranted)
		return nil
	}
	if !slices.ContainsFunc(h.session.grant.Targets, func(granted *wire.Target) bool { return covers(granted, target) }) {
		stream.closeLocked(TargetNotAllowed)
		return nil
	}
	go func() {
		connection, err := net.DialTimeout("tcp", netip.AddrPortFrom(address, uint16(target.Port)).String(), 5*time.Second)
		if err != nil {
			stream.Reset(Unreachable)
			return
		}
		h.session.mu.Lock()
		stream.given = usualWindow
		h.session.tell(frameStreamWindow, &wire.StreamWindow{Stream: stream.id, Credit: usualWindow})
		h.session.mu.Unlock()
		splice(stream, connection.(*net.TCPConn))
	}()
	return nil
}

// splice carries both directions, each to its own end.
func splice(stream *Stream, connection *net.TCPConn) {
	done := make(chan struct{}, 2)
	go func() {
		if _, err := io.Copy(onlyWriter{stream}, connection); err == nil {
			stream.Finish()
		} else {
			stream.Reset(ConnectionLost)
		}
		done <- struct{}{}
	}()
	go func() {
		if _, err := io.Copy(connection, onlyReader{stream}); err == nil {
			connection.CloseWrite()
		} else {
			stream.Reset(ConnectionLost)
			connection.SetLinger(0)
			connection.Close()
		}
		done <- struct{}{}
	}()
	<-done
	<-done
	connection.Close()
}

type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

func covers(granted, asked *wire.Target) bool {
	outer, ok := netip.AddrFromSlice(granted.GetPrefix().GetAddress())
	inner, _ := netip.AddrFromSlice(asked.Prefix.Address)
	if !ok || outer.BitLen() != inner.BitLen() {
		return false
	}
	within := netip.PrefixFrom(outer, int(granted.Prefix.Length)).Contains(inner)
	return within && granted.Protocol == asked.Protocol && (granted.Port == 0 || granted.Port == asked.Port)
}
