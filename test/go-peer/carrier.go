package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	subprotocol  = "shellstream.v1"
	recordLimit  = 65_536
	handshakeEnd = 10 * time.Second
	silenceLimit = 60 * time.Second
)

// Carrier carries records over one WebSocket, §2.
type Carrier struct {
	socket *websocket.Conn
	ending sync.Once
}

func dialCarrier(ctx context.Context, address string) (*Carrier, error) {
	straight := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	socket, _, err := websocket.Dial(ctx, "ws://"+address+"/", &websocket.DialOptions{
		HTTPClient: straight, Subprotocols: []string{subprotocol}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	return newCarrier(socket)
}

func acceptCarrier(w http.ResponseWriter, r *http.Request) (*Carrier, error) {
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{subprotocol}, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil, err
	}
	return newCarrier(socket)
}

func newCarrier(socket *websocket.Conn) (*Carrier, error) {
	if socket.Subprotocol() != subprotocol {
		socket.CloseNow()
		return nil, fmt.Errorf("the subprotocol is %q", socket.Subprotocol())
	}
	socket.SetReadLimit(recordLimit)
	return &Carrier{socket: socket}, nil
}

// Read returns the next record, of at least its type byte.
func (c *Carrier) Read(ctx context.Context) ([]byte, error) {
	kind, record, err := c.socket.Read(ctx)
	if err != nil {
		return nil, &Refusal{Reason: ConnectionLost, Why: err}
	}
	if kind != websocket.MessageBinary || len(record) == 0 {
		c.socket.Close(websocket.StatusUnsupportedData, "")
		return nil, malformed(errors.New("no record"))
	}
	return record, nil
}

func (c *Carrier) Write(record []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), handshakeEnd)
	defer cancel()
	return c.socket.Write(ctx, websocket.MessageBinary, record)
}

// End closes after the last record; the peer has a moment to answer.
func (c *Carrier) End() {
	c.ending.Do(func() { c.socket.Close(websocket.StatusNormalClosure, "") })
}

// open connects and speaks the handshake as the initiator.
func open(ctx context.Context, address string, wish Wish, identity *Identity) (*Session, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeEnd)
	defer cancel()
	carrier, err := dialCarrier(ctx, address)
	if err != nil {
		return nil, &Refusal{Reason: ConnectionLost, Why: err}
	}
	session, err := attest(ctx, carrier, wish, identity)
	if err != nil {
		carrier.End()
	}
	return session, err
}

func attest(ctx context.Context, carrier *Carrier, wish Wish, identity *Identity) (*Session, error) {
	attestation := newAttestation(wish, identity, []byte(prologue))
	init, err := attestation.Init()
	if err != nil {
		return nil, err
	}
	verify, err := exchange(ctx, carrier, init)
	if err != nil {
		return nil, err
	}
	confirm, err := attestation.Confirm(ctx, verify)
	if err != nil {
		return nil, err
	}
	answer, err := exchange(ctx, carrier, confirm)
	if err != nil {
		return nil, err
	}
	if answer[0] != recordTransport {
		return nil, refuse(UnexpectedRecord, "record %d instead of TRANSPORT", answer[0])
	}
	frame, err := attestation.receive.Decrypt(nil, nil, answer[1:])
	if err != nil || len(frame) == 0 {
		return nil, unauthenticated(fmt.Errorf("the answer does not open: %v", err))
	}
	accepted, err := attestation.answer(frame)
	if err != nil {
		return nil, err
	}
	session := newSession(carrier, identity, true, attestation.send, attestation.receive)
	session.wish, session.confirm = wish, confirm
	session.adopt(accepted.Grant, accepted.Secrets)
	session.start()
	return session, nil
}

// exchange sends a record of the handshake and waits for the next one; REFUSED ends it.
func exchange(ctx context.Context, carrier *Carrier, record []byte) ([]byte, error) {
	if err := carrier.Write(record); err != nil {
		return nil, &Refusal{Reason: ConnectionLost, Why: err}
	}
	answer, err := carrier.Read(ctx)
	if err != nil {
		return nil, err
	}
	if answer[0] != recordRefused {
		return answer, nil
	}
	if len(answer) != 3 {
		return nil, malformed(errors.New("REFUSED"))
	}
	return nil, &Refusal{Reason: uint32(answer[1])<<8 | uint32(answer[2]), Told: "REFUSED"}
}
