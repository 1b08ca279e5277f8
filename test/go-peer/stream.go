package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"shellstream.test/go-peer/wire"
)

const (
	usualWindow = 262_144
	mostCredit  = 1<<31 - 1
	mostStreams = 64
)

type direction int

const (
	running direction = iota
	finished
	wasReset
)

// Stream is one TCP connection through the session. Each direction ends by itself, §4.1.
type Stream struct {
	session  *Session
	id       uint32
	ourEnd   direction
	theirEnd direction
	reason   uint32 // of the reset that stopped us
	credit   uint64 // what we may still send
	given    uint64 // what they may still send
	consumed uint64 // since we last gave
	inbox    bytes.Buffer
	windows  int
}

// openStream asks for a target and waits until it is joined.
func (s *Session) openStream(target *wire.Target, window uint32) (*Stream, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over != nil || s.drain.reason != 0 {
		return nil, refuse(Closed, "no streams any more")
	}
	if s.ours += 2; s.ours == 2 {
		s.ours = 1
	}
	stream := &Stream{session: s, id: s.ours, given: uint64(window)}
	s.streams[stream.id] = stream
	s.tell(frameStreamOpen, &wire.StreamOpen{Stream: stream.id, Target: target, Window: window})
	for stream.windows == 0 && stream.theirEnd == running && s.over == nil {
		s.changed.Wait()
	}
	switch {
	case s.over != nil:
		return nil, s.over
	case stream.theirEnd == wasReset:
		return nil, &Refusal{Reason: stream.reason, Told: "STREAM_CLOSE"}
	}
	return stream, nil
}

// Write sends all of it, as credit comes.
func (t *Stream) Write(data []byte) (int, error) {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	for written := 0; ; {
		for t.credit == 0 && t.writable() == nil && written < len(data) {
			t.session.changed.Wait()
		}
		if err := t.writable(); err != nil || written == len(data) {
			return written, err
		}
		size := min(chunk, int(t.credit), len(data)-written)
		t.credit -= uint64(size)
		t.session.say(encodeData(t.id, data[written:written+size]))
		written += size
	}
}

func (t *Stream) writable() error {
	if t.session.over != nil {
		return t.session.over
	}
	if t.ourEnd != running {
		return &Refusal{Reason: t.reason, Told: "STREAM_CLOSE"}
	}
	return nil
}

// Read gives what came, and new credit when half of it was consumed.
func (t *Stream) Read(into []byte) (int, error) {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	for t.inbox.Len() == 0 {
		switch {
		case t.theirEnd == finished:
			t.session.forget(t)
			return 0, io.EOF
		case t.theirEnd == wasReset || (t.ourEnd == wasReset && t.theirEnd == running):
			return 0, &Refusal{Reason: t.reason, Told: "STREAM_CLOSE"}
		case t.session.over != nil:
			return 0, t.session.over
		}
		t.session.changed.Wait()
	}
	read, _ := t.inbox.Read(into)
	t.consumed += uint64(read)
	if t.consumed >= usualWindow/2 && t.theirEnd == running && !t.session.drain.weAreDone {
		t.session.tell(frameStreamWindow, &wire.StreamWindow{Stream: t.id, Credit: uint32(t.consumed)})
		t.given += t.consumed
		t.consumed = 0
	}
	return read, nil
}

// Finish says that we have sent everything; Reset gives the stream up.
func (t *Stream) Finish() { t.close(0) }

func (t *Stream) Reset(reason uint32) { t.close(reason) }

func (t *Stream) close(reason uint32) {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	t.closeLocked(reason)
}

func (t *Stream) closeLocked(reason uint32) {
	if t.ourEnd == wasReset || (reason == 0 && t.ourEnd != running) || t.session.over != nil {
		return
	}
	t.session.tell(frameStreamClose, &wire.StreamClose{Stream: t.id, Reason: reason})
	t.ourEnd = finished
	if reason != 0 {
		t.ourEnd, t.reason = wasReset, reason
		if t.theirEnd == running {
			t.inbox.Reset()
		}
	}
	t.session.forget(t)
	t.session.changed.Broadcast()
}

// forget takes a stream away that is over and read.
func (s *Session) forget(t *Stream) {
	if t.ourEnd != running && t.theirEnd != running && t.inbox.Len() == 0 {
		delete(s.streams, t.id)
		s.maybeDrained()
	}
}

// find tells a live stream from one that is over (nil) and from one that never was (an error).
func (s *Session) find(id uint32) (*Stream, error) {
	if stream := s.streams[id]; stream != nil {
		return stream, nil
	}
	last := s.theirs
	if (id%2 == 1) == s.initiator {
		last = s.ours
	}
	if id == 0 || id > last {
		return nil, refuse(UnexpectedRecord, "stream %d was never opened", id)
	}
	return nil, nil
}

// isOver: what of it is still unread changes nothing on the wire.
func (t *Stream) isOver() bool { return t == nil || (t.ourEnd != running && t.theirEnd != running) }

func (s *Session) takeData(id uint32, data []byte) error {
	stream, err := s.find(id)
	switch {
	case err != nil:
		return err
	case stream == nil || stream.theirEnd != running:
		return refuse(UnexpectedRecord, "data for stream %d, which is over", id)
	case uint64(len(data)) > stream.given:
		return refuse(WindowExceeded, "%d bytes, %d were given", len(data), stream.given)
	}
	stream.given -= uint64(len(data))
	if stream.ourEnd != wasReset {
		stream.inbox.Write(data)
	}
	s.changed.Broadcast()
	return nil
}

func (s *Session) takeWindow(window *wire.StreamWindow) error {
	if window.Credit == 0 {
		return malformed(errors.New("no credit"))
	}
	stream, err := s.find(window.Stream)
	if err != nil || stream.isOver() {
		return err
	}
	if stream.credit+uint64(window.Credit) > mostCredit {
		return refuse(WindowExceeded, "credit of %d more", window.Credit)
	}
	stream.credit += uint64(window.Credit)
	stream.windows++
	s.changed.Broadcast()
	return nil
}

func (s *Session) takeClose(end *wire.StreamClose) error {
	stream, err := s.find(end.Stream)
	if err != nil || stream.isOver() {
		return err
	}
	if stream.theirEnd == wasReset || (end.Reason == 0 && stream.theirEnd == finished) {
		return refuse(UnexpectedRecord, "stream %d ends twice", end.Stream)
	}
	if end.Reason == 0 {
		stream.theirEnd = finished
	} else {
		if stream.theirEnd == running {
			stream.theirEnd = wasReset
		}
		if stream.reason == 0 {
			stream.reason = end.Reason
		}
		s.note(Event{Event: "reset", Reason: end.Reason})
		if stream.ourEnd == running {
			stream.closeLocked(end.Reason)
		}
		if stream.theirEnd == wasReset {
			stream.inbox.Reset()
		}
	}
	s.forget(stream)
	s.changed.Broadcast()
	return nil
}

func (s *Session) takeOpen(open *wire.StreamOpen) error {
	ours := uint32(0)
	if !s.initiator {
		ours = 1
	}
	switch {
	case open.Stream == 0 || open.Stream%2 != ours || open.Stream <= s.theirs:
		return refuse(UnexpectedRecord, "STREAM_OPEN of %d", open.Stream)
	case s.drain.askedByPeer:
		return refuse(UnexpectedRecord, "STREAM_OPEN after DRAIN")
	case len(s.streams) >= mostStreams:
		return refuse(StreamLimit, "too many streams")
	case open.Window > mostCredit:
		return refuse(WindowExceeded, "a window of %d", open.Window)
	}
	s.theirs = open.Stream
	stream := &Stream{session: s, id: open.Stream, credit: uint64(open.Window)}
	s.streams[open.Stream] = stream
	if s.initiator {
		stream.closeLocked(NotGranted)
		return nil
	}
	if s.drain.reason != 0 {
		stream.closeLocked(s.drain.reason)
		return nil
	}
	return s.host.join(stream, open.Target)
}

// patience is how long a test's request waits for the other side.
const patience = 15 * time.Second

// readExactly is for what a test knows to come.
func (t *Stream) readExactly(length int) ([]byte, error) {
	got := make([]byte, length)
	read, err := io.ReadFull(t, got)
	if err != nil {
		return got[:read], fmt.Errorf("%d of %d bytes: %w", read, length, err)
	}
	return got, nil
}
