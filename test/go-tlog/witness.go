package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// server is a witness of c2sp.org/tlog-witness for one log, which behaves as it is told to.
type server struct {
	mutex     sync.Mutex
	name      string
	private   ed25519.PrivateKey
	key       witness
	log       note.Verifiers
	origin    string
	latest    tlog.Tree
	behaviour string
	asked     int
}

var running *server

func startWitness(asked request) (any, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var known []note.Verifier
	for _, key := range asked.Keys {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return nil, err
		}
		known = append(known, verifier)
	}
	listener, err := net.Listen("tcp", asked.Listen)
	if err != nil {
		return nil, err
	}
	running = &server{
		name: asked.Name, private: private, key: witness{asked.Name, cosignerHash(asked.Name, public), public},
		log: note.VerifierList(known...), origin: asked.Origin, behaviour: "honest",
	}
	go func() { _ = http.Serve(listener, running) }()
	key := fmt.Sprintf("%s+%08x+%s", asked.Name, running.key.hash, base64.StdEncoding.EncodeToString(append([]byte{4}, public...)))
	return map[string]string{"key": key, "url": "http://" + listener.Addr().String()}, nil
}

// behave changes how it answers from now on: honest, forbid, equivocate, silent, garbage, endless, forge, boast.
func behave(asked request) (any, error) {
	running.mutex.Lock()
	defer running.mutex.Unlock()
	running.behaviour = asked.Behaviour
	return map[string]bool{"ok": true}, nil
}

// saw tells the largest tree that it cosigned, and how often it was asked.
func saw(request) (any, error) {
	running.mutex.Lock()
	defer running.mutex.Unlock()
	return map[string]any{"size": running.latest.N, "root": running.latest.Hash[:], "asked": running.asked}, nil
}

func (s *server) ServeHTTP(response http.ResponseWriter, asked *http.Request) {
	s.mutex.Lock()
	behaviour := s.behaviour
	s.asked++
	s.mutex.Unlock()
	if asked.Method != "POST" || asked.URL.Path != "/add-checkpoint" {
		http.NotFound(response, asked)
		return
	}
	body, err := io.ReadAll(io.LimitReader(asked.Body, 1<<20))
	if err != nil {
		return
	}
	switch behaviour {
	case "forbid":
		http.Error(response, "no", http.StatusForbidden)
	case "silent":
		<-asked.Context().Done()
	case "garbage":
		_, _ = response.Write([]byte{0xff, 0, 1, 2, '\n', 0xfe})
	case "endless":
		line := []byte("\u2014 " + strings.Repeat("a", 4000) + "\n")
		for {
			if _, err := response.Write(line); err != nil {
				return
			}
		}
	case "boast":
		s.conflict(response, 1<<40)
	default:
		s.add(response, body, behaviour)
	}
}

func (s *server) add(response http.ResponseWriter, body []byte, behaviour string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	old, proof, signed, err := parse(body)
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	opened, err := note.Open(signed, s.log)
	if err != nil {
		http.Error(response, err.Error(), http.StatusForbidden)
		return
	}
	origin, tree, err := checkpoint(opened.Text)
	if err != nil || old > tree.N {
		http.Error(response, "no checkpoint", http.StatusBadRequest)
		return
	}
	if origin != s.origin {
		http.Error(response, "unknown log", http.StatusNotFound)
		return
	}
	if behaviour != "equivocate" {
		switch {
		case old != s.latest.N:
			s.conflict(response, s.latest.N)
			return
		case old == tree.N && tree.Hash != s.latest.Hash && old > 0:
			http.Error(response, "another tree", http.StatusConflict)
			return
		case old > 0 && old < tree.N:
			if err := tlog.CheckTree(proof, tree.N, tree.Hash, old, s.latest.Hash); err != nil {
				http.Error(response, err.Error(), http.StatusUnprocessableEntity)
				return
			}
		}
	}
	s.latest = tree
	private := s.private
	if behaviour == "forge" {
		_, private, _ = ed25519.GenerateKey(rand.Reader)
	}
	now := uint64(time.Now().Unix())
	line := binary.BigEndian.AppendUint32(nil, s.key.hash)
	line = binary.BigEndian.AppendUint64(line, now)
	line = append(line, ed25519.Sign(private, message(now, []byte(opened.Text)))...)
	fmt.Fprintf(response, "\u2014 %s %s\n", s.name, base64.StdEncoding.EncodeToString(line))
}

func (s *server) conflict(response http.ResponseWriter, size int64) {
	response.Header().Set("Content-Type", "text/x.tlog.size")
	response.WriteHeader(http.StatusConflict)
	fmt.Fprintf(response, "%d\n", size)
}

// parse takes a request to add-checkpoint apart.
func parse(body []byte) (old int64, proof tlog.TreeProof, signed []byte, err error) {
	head, signed, found := bytes.Cut(body, []byte("\n\n"))
	if !found {
		return 0, nil, nil, errors.New("no empty line")
	}
	lines := strings.Split(string(head), "\n")
	size, found := strings.CutPrefix(lines[0], "old ")
	if !found || len(lines) > 64 {
		return 0, nil, nil, errors.New("no old size, or too many lines")
	}
	if old, err = strconv.ParseInt(size, 10, 64); err != nil || old < 0 {
		return 0, nil, nil, errors.New("no size")
	}
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return 0, nil, nil, err
		}
		proof = append(proof, hash)
	}
	return old, proof, signed, nil
}
