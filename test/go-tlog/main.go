// An outsider: reads, checks and writes evidence logs with golang.org/x/mod/sumdb and nothing of ours. One JSON object a
// line on standard input, one answer a line on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

type request struct {
	Op        string   `json:"op"`
	Dir       string   `json:"dir"`
	Keys      []string `json:"keys"`
	Witnesses []string `json:"witnesses"`
	Note      string   `json:"note"`
	Name      string   `json:"name"`
	Secret    string   `json:"secret"`
	Entries   [][]byte `json:"entries"`
	Old       int64    `json:"old"`
	OldRoot   []byte   `json:"oldRoot"`
	Index     int64    `json:"index"`
	Proof     [][]byte `json:"proof"`
	Size      int64    `json:"size"`
	Root      []byte   `json:"root"`
	Leaf      []byte   `json:"leaf"`
	Time      uint64   `json:"time"`
	Listen    string   `json:"listen"`
	Origin    string   `json:"origin"`
	Behaviour string   `json:"behaviour"`
}

var operations = map[string]func(request) (any, error){
	"check-log":         checkLog,
	"make-log":          makeLog,
	"prove":             prove,
	"check-inclusion":   checkInclusion,
	"check-consistency": checkConsistency,
	"generate":          generate,
	"sign":              sign,
	"open":              open,
	"cosign":            cosign,
	"check-cosignature": checkCosignature,
	"witness":           startWitness,
	"behave":            behave,
	"saw":               saw,
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	output := json.NewEncoder(os.Stdout)
	for input.Scan() {
		answer, err := answerTo(input.Bytes())
		if err != nil {
			answer = map[string]string{"refused": err.Error()}
		}
		if err := output.Encode(answer); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func answerTo(line []byte) (any, error) {
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return nil, err
	}
	operation, ok := operations[asked.Op]
	if !ok {
		return nil, fmt.Errorf("no operation %q", asked.Op)
	}
	return operation(asked)
}
