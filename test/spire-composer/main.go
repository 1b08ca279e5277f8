// A host of SPIRE plugins on hashicorp/go-plugin, as SPIRE's server is one: it starts the composer, sets it up, asks it and
// signs what comes back. Reads one JSON request a line on stdin, answers each with one JSON line on stdout.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"

	"google.golang.org/grpc/status"
)

// Request is the union of all requests; Op tells which fields count.
type Request struct {
	Op          string            `json:"op"`
	Command     string            `json:"command"`
	Args        []string          `json:"args"`
	Env         map[string]string `json:"env"`
	Checksum    string            `json:"checksum"`
	DiesWithUs  bool              `json:"diesWithUs"`
	Cookie      string            `json:"cookie"`
	TLS         bool              `json:"tls"`
	Version     uint              `json:"version"`
	TrustDomain string            `json:"trustDomain"`
	PluginData  string            `json:"pluginData"`
	SpiffeID    string            `json:"spiffeId"`
	Claims      map[string]any    `json:"claims"`
	Extensions  []string          `json:"extensions"`
	Audience    string            `json:"audience"`
	Method      string            `json:"method"`
	Bytes       int               `json:"bytes"`
	Count       int               `json:"count"`
	Config      string            `json:"config"`
}

func main() {
	host := newHost()
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var request Request
		var answer any
		err := json.Unmarshal(lines.Bytes(), &request)
		if err == nil {
			answer, err = host.handle(request)
		}
		if err != nil {
			answer = map[string]string{"failed": err.Error(), "code": status.Code(err).String()}
		}
		if err := out.Encode(answer); err != nil {
			os.Exit(1)
		}
	}
	host.kill()
}

func (h *host) handle(request Request) (any, error) {
	if request.Op == "start" {
		return h.start(request)
	}
	if request.Op == "print" {
		return printPluginData(request.Config)
	}
	if request.Op == "logs" {
		return h.logs.lines(), nil
	}
	if h.conn == nil {
		return nil, fmt.Errorf("no plugin was started")
	}
	switch request.Op {
	case "configure":
		return struct{}{}, h.configure(request)
	case "validate":
		return h.validate(request)
	case "compose":
		return h.composeClaims(request.SpiffeID, request.Claims)
	case "token":
		return h.token(request)
	case "certificate":
		return h.certificate(request)
	case "authority":
		return h.authority.bundles()
	case "defaults":
		return h.defaults(request)
	case "ping":
		return struct{}{}, h.protocol.Ping()
	case "call":
		return struct{}{}, h.call(request)
	case "many":
		return h.many(request)
	case "deinit":
		return struct{}{}, h.deinit()
	case "kill":
		return h.kill(), nil
	default:
		return nil, fmt.Errorf("no operation %q", request.Op)
	}
}
