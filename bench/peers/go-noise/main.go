// A peer: github.com/flynn/noise. Reads lines "TAG N", runs N handshakes of Noise_XX_25519_ChaChaPoly_SHA256, and
// answers "TAG MICROSECONDS": the median of what the responder's half took.
package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"slices"
	"time"

	"github.com/flynn/noise"
)

var (
	suite    = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashSHA256)
	prologue = []byte("shellstream/1")
	payload  = make([]byte, 200)
)

func main() {
	initiator, responder := keypair(), keypair()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var tag, times int
		if _, err := fmt.Sscan(lines.Text(), &tag, &times); err != nil {
			log.Fatal(err)
		}
		costs := make([]float64, times)
		for i := range costs {
			costs[i] = float64(handshake(initiator, responder).Nanoseconds()) / 1000
		}
		slices.Sort(costs)
		fmt.Println(tag, costs[times/2])
	}
}

func handshake(initiatorKey, responderKey noise.DHKey) time.Duration {
	initiator := state(initiatorKey, true)
	one, _, _, err := initiator.WriteMessage(nil, payload)
	must(err)

	begun := time.Now()
	responder := state(responderKey, false)
	_, _, _, err = responder.ReadMessage(nil, one)
	must(err)
	two, _, _, err := responder.WriteMessage(nil, payload)
	must(err)
	took := time.Since(begun)

	_, _, _, err = initiator.ReadMessage(nil, two)
	must(err)
	three, _, _, err := initiator.WriteMessage(nil, payload)
	must(err)

	begun = time.Now()
	_, send, receive, err := responder.ReadMessage(nil, three)
	must(err)
	took += time.Since(begun)
	if send == nil || receive == nil {
		log.Fatal("the handshake did not end")
	}
	return took
}

func state(key noise.DHKey, initiator bool) *noise.HandshakeState {
	state, err := noise.NewHandshakeState(noise.Config{
		CipherSuite:   suite,
		Random:        rand.Reader,
		Pattern:       noise.HandshakeXX,
		Initiator:     initiator,
		Prologue:      prologue,
		StaticKeypair: key,
	})
	must(err)
	return state
}

func keypair() noise.DHKey {
	key, err := suite.GenerateKeypair(rand.Reader)
	must(err)
	return key
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
