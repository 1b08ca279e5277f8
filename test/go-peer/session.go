package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/flynn/noise"
	"google.golang.org/protobuf/proto"

	"shellstream.test/go-peer/wire"
)

// Session is an open session. One goroutine reads, one writes; all state is behind mu, and nothing blocks under it:
// what is to be sent waits in a queue that credit and the other side's own frames bound.
type Session struct {
	carrier   *Carrier
	identity  *Identity
	initiator bool
	receive   *noise.CipherState // the reader's
	host      *Host              // the responder's

	mu      sync.Mutex
	changed *sync.Cond
	written chan struct{} // closed when the last record is out and the connection is closed
	queue   []outgoing
	over    error
	closing bool
	events  []Event
	taken   int

	wish       Wish
	confirm    []byte
	ownLevel   uint32
	ownEpoch   uint64
	peerLevel  uint32
	peerEpoch  uint64
	grant      *wire.Grant
	secrets    Secrets
	id         string
	generation uint32
	renewal    *time.Timer
	expiry     *time.Timer
	inner      inner
	tunnel     *Tunnel
	lastPing   uint64
	drain      drain
	streams    map[uint32]*Stream
	ours       uint32 // the last stream id of each side
	theirs     uint32
}

// outgoing is a frame to seal, or the key that seals what comes after it.
type outgoing struct {
	plaintext []byte
	key       *noise.CipherState
}

// Event is what a test waits for.
type Event struct {
	Event      string `json:"event"`
	Reason     uint32 `json:"reason,omitempty"`
	Level      uint32 `json:"level,omitempty"`
	Generation uint32 `json:"generation,omitempty"`
	State      string `json:"state,omitempty"`
	DeadlineMs uint32 `json:"deadlineMs,omitempty"`
	Fresh      bool   `json:"fresh,omitempty"`
}

func newSession(carrier *Carrier, identity *Identity, initiator bool, send, receive *noise.CipherState) *Session {
	s := &Session{
		carrier: carrier, identity: identity, initiator: initiator, receive: receive,
		queue: []outgoing{{key: send}}, streams: map[uint32]*Stream{}, written: make(chan struct{}),
	}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// adopt makes a grant and its secrets those of the session. The id stays what the first attestation made it, and a
// level that POSTURE told under a higher epoch stays too.
func (s *Session) adopt(grant *wire.Grant, secrets Secrets) {
	s.grant, s.secrets = grant, secrets
	s.generation++
	if s.id == "" {
		s.id = hex.EncodeToString(secrets.SessionID)
	}
	if s.initiator {
		s.ownLevel, s.ownEpoch = s.wish.Level, s.wish.Epoch
		if grant.PostureEpoch > s.peerEpoch {
			s.peerLevel, s.peerEpoch = grant.PostureLevel, grant.PostureEpoch
		}
	}
	lifetime := time.Duration(min(grant.LifetimeMs, 1<<40)) * time.Millisecond
	for _, timer := range []*time.Timer{s.renewal, s.expiry} {
		if timer != nil {
			timer.Stop()
		}
	}
	s.expiry = s.after(lifetime, func() { s.end(refuse(Expired, "the lifetime is over")) })
	if s.initiator {
		s.renewal = s.after(lifetime*6/10, s.beginReattest)
	}
}

// after runs an action under the lock, unless the session is over by then.
func (s *Session) after(delay time.Duration, action func()) *time.Timer {
	return time.AfterFunc(delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.over == nil {
			action()
		}
	})
}

func (s *Session) start() {
	go s.read()
	go s.write()
	go s.ping()
	if s.initiator {
		go s.watchRotation()
	}
}

func (s *Session) read() {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), silenceLimit)
		record, err := s.carrier.Read(ctx)
		silent := ctx.Err() != nil
		cancel()
		if silent {
			err = refuse(PeerSilent, "nothing came")
		}
		s.mu.Lock()
		if err == nil && s.over == nil {
			err = s.take(record)
		}
		if err != nil {
			s.end(err)
		}
		over := s.over != nil
		s.mu.Unlock()
		if over {
			return
		}
	}
}

func (s *Session) take(record []byte) error {
	if record[0] != recordTransport {
		return refuse(UnexpectedRecord, "record %d in an open session", record[0])
	}
	plaintext, err := s.receive.Decrypt(nil, nil, record[1:])
	if err != nil {
		return unauthenticated(err)
	}
	frame, err := parseFrame(plaintext)
	if err != nil {
		return err
	}
	return s.handle(frame)
}

func (s *Session) write() {
	defer close(s.written)
	var key *noise.CipherState
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && s.over == nil {
			s.changed.Wait()
		}
		queue, over := s.queue, s.over != nil
		s.queue = nil
		s.mu.Unlock()
		for _, next := range queue {
			if next.key != nil {
				key = next.key
				continue
			}
			sealed := must(key.Encrypt([]byte{recordTransport}, nil, next.plaintext))
			if err := s.carrier.Write(sealed); err != nil {
				s.fail(&Refusal{Reason: ConnectionLost, Why: err})
				return
			}
		}
		if over {
			s.carrier.End()
			return
		}
	}
}

// say queues a frame. Nothing follows CLOSE.
func (s *Session) say(plaintext []byte) {
	if s.closing || s.over != nil {
		return
	}
	s.queue = append(s.queue, outgoing{plaintext: plaintext})
	s.changed.Broadcast()
}

// seal puts what is queued from here on under another key.
func (s *Session) seal(key *noise.CipherState) { s.queue = append(s.queue, outgoing{key: key}) }

// end ends the session: a fault, or an end of ours, is told by CLOSE; one that was told is not answered.
func (s *Session) end(why error) {
	if s.over != nil {
		return
	}
	var refusal *Refusal
	told := errors.As(why, &refusal) && (refusal.Told != "" || refusal.Reason == ConnectionLost)
	if !told {
		s.say(encodeFrame(frameClose, &wire.Close{Reason: reasonOf(why)}))
	}
	s.over = why
	event := Event{Event: "ended", Reason: reasonOf(why)}
	if refusal != nil && refusal.Told != "" {
		event.Event = refusal.Told
	}
	s.note(event)
	for _, timer := range []*time.Timer{s.renewal, s.expiry} {
		if timer != nil {
			timer.Stop()
		}
	}
}

func (s *Session) fail(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(why)
}

func (s *Session) note(event Event) {
	s.events = append(s.events, event)
	s.changed.Broadcast()
}

// await returns the next event of this name, and forgets what came before it.
func (s *Session) await(name string, within time.Duration) (Event, error) {
	late := false
	defer time.AfterFunc(within, func() { s.mu.Lock(); late = true; s.changed.Broadcast(); s.mu.Unlock() }).Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for from := s.taken; ; s.changed.Wait() {
		for ; from < len(s.events); from++ {
			if s.events[from].Event == name {
				s.taken = from + 1
				return s.events[from], nil
			}
		}
		if late || s.over != nil {
			return Event{}, fmt.Errorf("no %s, but %+v; the session: %v", name, s.events[s.taken:], s.over)
		}
	}
}

func (s *Session) ping() {
	for {
		time.Sleep(silenceLimit / 3)
		s.mu.Lock()
		over := s.over != nil
		s.sayPing()
		s.mu.Unlock()
		if over {
			return
		}
	}
}

func (s *Session) sayPing() {
	s.lastPing++
	s.say(encodeFrame(framePing, &wire.Ping{Opaque: s.lastPing}))
}

func (s *Session) effective() uint32 { return min(s.ownLevel, s.peerLevel) }

// tell queues a frame that is a message.
func (s *Session) tell(kind byte, message proto.Message) { s.say(encodeFrame(kind, message)) }
