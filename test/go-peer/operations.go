package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"shellstream.test/go-peer/wire"
)

// open ends what was, and opens a session as the request says.
func (p *Program) open(ctx context.Context, request Request) (any, error) {
	p.drop()
	identity, err := openIdentity(ctx, request.Socket)
	if err != nil {
		return nil, err
	}
	wish := Wish{
		ResponderID: request.GatewayID, Type: wire.SessionType(wire.SessionType_value["SESSION_TYPE_"+request.Type]),
		Mode: wire.Mode_MODE_OVERLAY, Level: request.Level, Epoch: uint64(time.Now().UnixMilli()), Wrong: request.Wrong,
		Request: &wire.Request{Capabilities: []wire.Capability{wire.Capability_CAPABILITY_OBSERVE, wire.Capability_CAPABILITY_CONNECT}},
	}
	if wish.Request.Targets, err = parseTargets(request.Targets); err != nil {
		return nil, err
	}
	if wish.Offered, err = parseTargets(request.Offered); err != nil {
		return nil, err
	}
	if request.Inside != "" {
		p.tunnel, err = newTunnel(request.Device, netip.MustParseAddr(request.Inside), request.Address, request.FlippedKey)
		if err != nil {
			return nil, err
		}
		wish.Wireguard, wish.WireguardKey = p.tunnel.offer(), p.tunnel.key.Private
	}
	if p.session, err = open(ctx, request.Address, wish, identity); err != nil {
		return nil, err
	}
	if p.tunnel != nil {
		p.locked(func() { p.session.tunnel = p.tunnel; p.session.swapTunnel() })
	}
	return p.describe(), nil
}

func (p *Program) serve(ctx context.Context, request Request) (any, error) {
	p.drop()
	identity, err := openIdentity(ctx, request.Socket)
	if err != nil {
		return nil, err
	}
	p.responder, err = serve(request.Address, identity, request.LifetimeMs, request.Wrong)
	if err != nil {
		return nil, err
	}
	return map[string]string{"listening": p.responder.listener.Addr().String()}, nil
}

// Description is a session as a test sees it.
type Description struct {
	Session      string   `json:"session"`
	Peer         string   `json:"peer"`
	Capabilities []string `json:"capabilities"`
	Targets      []string `json:"targets"`
	Reachable    []string `json:"reachable"`
	LifetimeMs   uint64   `json:"lifetimeMs"`
	Effective    uint32   `json:"effectiveLevel"`
	Governor     string   `json:"governedBy"`
	PeerLevel    uint32   `json:"peerLevel"`
	Generation   uint32   `json:"generation"`
	PresharedKey string   `json:"presharedKeyHash"`
}

func (p *Program) describe() Description {
	p.session.mu.Lock()
	defer p.session.mu.Unlock()
	grant := p.session.grant
	hashed := sha256.Sum256(p.session.secrets.PresharedKey)
	described := Description{
		Session: p.session.id, Peer: p.session.wish.ResponderID, LifetimeMs: grant.LifetimeMs, Effective: p.session.effective(),
		Governor: grant.GovernedBy.String(), PeerLevel: p.session.peerLevel, Generation: p.session.generation,
		PresharedKey: hex.EncodeToString(hashed[:8]),
	}
	if p.session.host != nil {
		described.Peer = p.session.host.former.peer
	}
	for _, capability := range grant.Capabilities {
		described.Capabilities = append(described.Capabilities, strings.TrimPrefix(capability.String(), "CAPABILITY_"))
	}
	for _, target := range grant.Targets {
		described.Targets = append(described.Targets, fmt.Sprintf("%d:%s:%d", target.Protocol, prefixText(target.Prefix), target.Port))
	}
	for _, prefix := range grant.Reachable {
		described.Reachable = append(described.Reachable, prefixText(prefix))
	}
	return described
}

// reattest asks for it, for other targets if they are named, and waits for the new grant.
func (p *Program) reattest(request Request) (any, error) {
	targets, err := parseTargets(request.Targets)
	if err != nil {
		return nil, err
	}
	p.locked(func() {
		if len(targets) > 0 {
			p.session.wish.Request = &wire.Request{Capabilities: p.session.wish.Request.Capabilities, Targets: targets}
		}
		p.session.beginReattest()
	})
	return p.session.await("GRANT", patience)
}

// echo sends so many bytes and reads as many back at the same time; with Reattest the keys change on the way.
func (p *Program) echo(request Request) (any, error) {
	sent := randomBytes(request.Bytes)
	failed := make(chan error, 1)
	go func() {
		half := len(sent) / 2
		_, err := p.stream.Write(sent[:half])
		if err == nil && request.Reattest {
			p.locked(p.session.beginReattest)
		}
		if err == nil {
			_, err = p.stream.Write(sent[half:])
		}
		failed <- err
	}()
	got, err := p.stream.readExactly(request.Bytes)
	if err == nil {
		err = <-failed
	}
	if err == nil && request.Reattest {
		_, err = p.session.await("GRANT", patience)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"bytes": len(got), "same": bytes.Equal(sent, got), "windows": p.stream.windows, "generation": p.session.generation}, nil
}

// readToEnd is what still comes after our finish.
func (t *Stream) readToEnd() (any, error) {
	rest, err := io.ReadAll(onlyReader{t})
	return map[string]any{"rest": string(rest)}, err
}

func parseTargets(texts []string) ([]*wire.Target, error) {
	var targets []*wire.Target
	for _, text := range texts {
		target, err := parseTarget(text)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	return targets, nil
}

// parseTarget reads PROTOCOL:PREFIX:PORT, the protocol as a number, as Description writes it.
func parseTarget(text string) (*wire.Target, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return nil, fmt.Errorf("no target: %s", text)
	}
	protocol, wrongProtocol := strconv.ParseUint(parts[0], 10, 8)
	prefix, wrongPrefix := netip.ParsePrefix(parts[1])
	port, wrongPort := strconv.ParseUint(parts[2], 10, 16)
	if wrongProtocol != nil || wrongPrefix != nil || wrongPort != nil {
		return nil, fmt.Errorf("no target: %s", text)
	}
	return &wire.Target{
		Prefix:   &wire.Prefix{Address: prefix.Addr().AsSlice(), Length: uint32(prefix.Bits())},
		Protocol: uint32(protocol), Port: uint32(port),
	}, nil
}
