// A peer of shellstream/1 that knows of Shellstream only protocol/README.md and its schema. It reads one JSON request a
// line on stdin and answers each with one JSON line on stdout; a request that fails answers {"failed", "reason", "told"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Request is the union of all requests; Op tells which fields count.
type Request struct {
	Op         string   `json:"op"`
	Folder     string   `json:"folder"`
	Socket     string   `json:"socket"`
	Address    string   `json:"address"`
	GatewayID  string   `json:"gatewayId"`
	Type       string   `json:"type"`
	Targets    []string `json:"targets"`
	Offered    []string `json:"offered"`
	Target     string   `json:"target"`
	Level      uint32   `json:"level"`
	Wrong      string   `json:"wrong"`
	Event      string   `json:"event"`
	Bytes      int      `json:"bytes"`
	Window     uint32   `json:"window"`
	Reattest   bool     `json:"reattest"`
	Reason     uint32   `json:"reason"`
	DeadlineMs uint32   `json:"deadlineMs"`
	LifetimeMs uint64   `json:"lifetimeMs"`
	Frame      []byte   `json:"frame"`
	Record     []byte   `json:"record"`
	Device     string   `json:"device"`
	Inside     string   `json:"inside"`
	FlippedKey bool     `json:"flippedKey"`
}

// Program holds what outlives a request: one session, and the stream that was opened last.
type Program struct {
	session   *Session
	stream    *Stream
	responder *Responder
	tunnel    *Tunnel
}

func main() {
	program := &Program{}
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var request Request
		var answer any
		err := json.Unmarshal(lines.Bytes(), &request)
		if err == nil {
			answer, err = program.handle(context.Background(), request)
		}
		if err != nil {
			answer = failure(err)
		}
		if err := out.Encode(answer); err != nil {
			os.Exit(1)
		}
	}
	program.drop()
}

func failure(err error) map[string]any {
	told := ""
	var refusal *Refusal
	if errors.As(err, &refusal) {
		told = refusal.Told
	}
	return map[string]any{"failed": err.Error(), "reason": reasonOf(err), "told": told}
}

func (p *Program) handle(ctx context.Context, request Request) (any, error) {
	switch request.Op {
	case "replay":
		return replay(request.Folder)
	case "open":
		return p.open(ctx, request)
	case "serve":
		return p.serve(ctx, request)
	case "refused":
		return map[string]string{"error": (<-p.responder.failures).Error()}, nil
	case "accepted":
		p.session = <-p.responder.sessions
		return p.describe(), nil
	}
	if p.session == nil {
		return nil, fmt.Errorf("no session for %q", request.Op)
	}
	return p.onSession(request)
}

func (p *Program) onSession(request Request) (any, error) {
	switch request.Op {
	case "wait":
		return p.session.await(request.Event, patience)
	case "describe":
		return p.describe(), nil
	case "reattest":
		return p.reattest(request)
	case "posture":
		p.session.setPosture(request.Level)
	case "ping":
		p.locked(p.session.sayPing)
	case "drain":
		p.locked(func() { p.session.beginDrain(request.Reason, request.DeadlineMs) })
	case "close":
		p.session.fail(refuse(Closed, "asked to"))
	case "sendFrame":
		p.locked(func() { p.session.say(request.Frame) })
	case "sendRecord":
		return struct{}{}, p.session.carrier.Write(request.Record)
	case "repeatInner":
		p.locked(func() { p.session.inner.repeats = true })
	case "repeatConfirm":
		return struct{}{}, p.session.carrier.Write(p.session.confirm)
	default:
		return p.onStream(request)
	}
	return struct{}{}, nil
}

func (p *Program) onStream(request Request) (any, error) {
	switch request.Op {
	case "stream":
		target, err := parseTarget(request.Target)
		if err != nil {
			return nil, err
		}
		p.stream, err = p.session.openStream(target, max(request.Window, 1))
		return p.describe(), err
	case "read":
		got, err := p.stream.readExactly(request.Bytes)
		return map[string]string{"text": string(got)}, err
	case "echo":
		return p.echo(request)
	case "finish":
		p.stream.Finish()
		return p.stream.readToEnd()
	case "reset":
		p.stream.Reset(request.Reason)
		return p.session.await("reset", patience)
	default:
		return nil, fmt.Errorf("no operation %q", request.Op)
	}
}

func (p *Program) locked(action func()) {
	p.session.mu.Lock()
	defer p.session.mu.Unlock()
	action()
}

// drop ends what a former request began.
func (p *Program) drop() {
	if p.session != nil {
		p.session.fail(refuse(Closed, "the next one begins"))
		<-p.session.written
	}
	if p.tunnel != nil {
		p.tunnel.Close()
	}
	if p.responder != nil {
		p.responder.listener.Close()
	}
	*p = Program{}
}
