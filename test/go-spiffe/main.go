// The go-spiffe side of the tests: reads one JSON request a line on stdin, answers each with one JSON line on stdout.
// A watch answers with a line for each update. What it says is go-spiffe's judgement, not ours.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// Request is the union of all requests; Op tells which fields count.
type Request struct {
	Op          string   `json:"op"`
	Socket      string   `json:"socket"`
	Audience    string   `json:"audience"`
	TrustDomain string   `json:"trustDomain"`
	Chain       [][]byte `json:"chain"`
	Bundle      []byte   `json:"bundle"`
	Token       string   `json:"token"`
	Updates     int      `json:"updates"`
}

// Verdict is what go-spiffe's verifier says.
type Verdict struct {
	OK    bool   `json:"ok"`
	ID    string `json:"id,omitempty"`
	Error string `json:"error,omitempty"`
}

func main() {
	ctx := context.Background()
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var request Request
		var answer any
		err := json.Unmarshal(lines.Bytes(), &request)
		if err == nil {
			answer, err = handle(ctx, request, out)
		}
		if err != nil {
			answer = map[string]string{"failed": err.Error()}
		}
		if err := out.Encode(answer); err != nil {
			os.Exit(1)
		}
	}
}

func handle(ctx context.Context, request Request, out *json.Encoder) (any, error) {
	switch request.Op {
	case "fetch":
		return fetch(ctx, request)
	case "watch":
		return watch(ctx, request, out)
	case "verifyX509":
		return verifyX509(request), nil
	case "verifyJwt":
		return verifyJWT(request), nil
	case "makeX509":
		return makeX509()
	case "makeJwt":
		return makeJWT(request.Audience)
	case "serve":
		return serve(request.Socket)
	default:
		return nil, fmt.Errorf("no operation %q", request.Op)
	}
}
