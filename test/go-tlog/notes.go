package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

func generate(asked request) (any, error) {
	secret, key, err := note.GenerateKey(rand.Reader, asked.Name)
	return map[string]string{"secret": secret, "key": key}, err
}

func sign(asked request) (any, error) {
	signer, err := note.NewSigner(asked.Secret)
	if err != nil {
		return nil, err
	}
	signed, err := note.Sign(&note.Note{Text: asked.Note}, signer)
	return map[string]string{"note": string(signed)}, err
}

// open tells the text and the names of those known keys that signed it.
func open(asked request) (any, error) {
	opened, err := openNote(asked.Note, asked.Keys)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, signature := range opened.Sigs {
		names = append(names, signature.Name)
	}
	return map[string]any{"text": opened.Text, "signedBy": names}, nil
}

func openNote(text string, keys []string) (*note.Note, error) {
	var known []note.Verifier
	for _, key := range keys {
		verifier, err := note.NewVerifier(key)
		if err != nil {
			return nil, err
		}
		known = append(known, verifier)
	}
	return note.Open([]byte(text), note.VerifierList(known...))
}

// witness is a cosigner of c2sp.org/tlog-cosignature as a verifier of golang.org/x/mod's note package.
type witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (w witness) Name() string    { return w.name }
func (w witness) KeyHash() uint32 { return w.hash }
func (w witness) Verify(text, stamped []byte) bool {
	if len(stamped) != 8+ed25519.SignatureSize {
		return false
	}
	return ed25519.Verify(w.key, message(binary.BigEndian.Uint64(stamped), text), stamped[8:])
}

func message(time uint64, text []byte) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", time, text)
}

func cosignerHash(name string, key ed25519.PublicKey) uint32 {
	hash := sha256.Sum256(append([]byte(name+"\n\x04"), key...))
	return binary.BigEndian.Uint32(hash[:])
}

func newWitness(vkey string) (witness, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	id, encoded, _ := strings.Cut(rest, "+")
	material, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(material) != 33 || material[0] != 4 {
		return witness{}, errors.New("no key of a cosigner")
	}
	w := witness{name, cosignerHash(name, material[1:]), material[1:]}
	if fmt.Sprintf("%08x", w.hash) != id {
		return witness{}, errors.New("the id is not the key's")
	}
	return w, nil
}

// cosign adds the line of a new witness to a note, and tells its key.
func cosign(asked request) (any, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	text, _, found := strings.Cut(asked.Note, "\n\n")
	if !found {
		return nil, errors.New("no note")
	}
	hash := cosignerHash(asked.Name, public)
	line := binary.BigEndian.AppendUint32(nil, hash)
	line = binary.BigEndian.AppendUint64(line, asked.Time)
	line = append(line, ed25519.Sign(private, message(asked.Time, []byte(text+"\n")))...)
	key := fmt.Sprintf("%s+%08x+%s", asked.Name, hash, base64.StdEncoding.EncodeToString(append([]byte{4}, public...)))
	signed := asked.Note + "\u2014 " + asked.Name + " " + base64.StdEncoding.EncodeToString(line) + "\n"
	return map[string]string{"note": signed, "key": key}, nil
}

func checkCosignature(asked request) (any, error) {
	var known []note.Verifier
	for _, key := range asked.Witnesses {
		w, err := newWitness(key)
		if err != nil {
			return nil, err
		}
		known = append(known, w)
	}
	opened, err := note.Open([]byte(asked.Note), note.VerifierList(known...))
	if err != nil {
		return nil, err
	}
	return map[string]int{"cosignatures": len(opened.Sigs)}, nil
}
