package main

import (
	"errors"
	"fmt"
	"time"

	"shellstream.test/go-peer/wire"
)

// handle answers one frame; an error is the peer's fault, or its end. The lock is held.
func (s *Session) handle(frame *Frame) error {
	switch message := frame.Message.(type) {
	case nil:
		return s.takeData(frame.Stream, frame.Data)
	case *wire.Grant:
		return s.takeGrant(message)
	case *wire.Deny:
		return s.takeDeny(message)
	case *wire.Posture:
		return s.takePosture(message)
	case *wire.Drain:
		return s.takeDrain(message)
	case *wire.Drained:
		return s.takeDrained()
	case *wire.Tunnel:
		return s.takeTunnel(message)
	case *wire.Reattest:
		return s.takeReattest(message)
	case *wire.StreamOpen:
		return s.takeOpen(message)
	case *wire.StreamWindow:
		return s.takeWindow(message)
	case *wire.StreamClose:
		return s.takeClose(message)
	case *wire.Ping:
		s.tell(framePong, &wire.Pong{Opaque: message.Opaque})
		return nil
	case *wire.Pong:
		if message.Opaque == 0 || message.Opaque > s.lastPing {
			return refuse(UnexpectedRecord, "PONG %d", message.Opaque)
		}
		s.note(Event{Event: "PONG"})
		return nil
	case *wire.Close:
		if message.Reason == 0 {
			return malformed(errors.New("CLOSE without a reason"))
		}
		return &Refusal{Reason: message.Reason, Told: "CLOSE"}
	default:
		return fmt.Errorf("no answer to %T", message)
	}
}

func (s *Session) takePosture(posture *wire.Posture) error {
	if posture.Level < 1 || posture.Level > 5 {
		return malformed(fmt.Errorf("level %d", posture.Level))
	}
	s.note(Event{Event: "POSTURE", Level: posture.Level})
	s.learn(posture.Level, posture.Epoch)
	if s.effective() == 1 && s.drain.reason == 0 {
		s.after(500*time.Millisecond, func() {
			if s.drain.reason == 0 {
				s.beginDrain(PostureEnd, 0)
			}
		})
	}
	return nil
}

// learn takes a level of the peer under a higher epoch, and attests again where the session falls to 3 or lower.
func (s *Session) learn(level uint32, epoch uint64) {
	if epoch <= s.peerEpoch {
		return
	}
	before := s.effective()
	s.peerLevel, s.peerEpoch = level, epoch
	s.fellFrom(before)
}

func (s *Session) fellFrom(before uint32) {
	if s.initiator && before > 3 && s.effective() <= 3 && s.effective() > 1 {
		s.beginReattest()
	}
}

// setPosture is a change of our own level.
func (s *Session) setPosture(level uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.effective()
	s.ownLevel, s.ownEpoch = level, s.ownEpoch+1
	s.tell(framePosture, &wire.Posture{Level: s.ownLevel, Epoch: s.ownEpoch})
	s.fellFrom(before)
}

func (s *Session) takeTunnel(tunnel *wire.Tunnel) error {
	if tunnel.Generation == 0 {
		return malformed(errors.New("generation 0"))
	}
	s.note(Event{Event: "TUNNEL", State: tunnel.State.String(), Generation: tunnel.Generation})
	if tunnel.State == wire.Tunnel_STATE_FAILED {
		return refuse(TunnelFailed, "the peer's tunnel failed")
	}
	return nil
}

// drain is where a session is in coming to its end. Reason 0: none was asked for.
type drain struct {
	reason      uint32
	askedByUs   bool
	askedByPeer bool
	weAreDone   bool
	peerIsDone  bool
	deadline    time.Time
	timer       *time.Timer
}

func (s *Session) beginDrain(reason, deadlineMs uint32) {
	s.tell(frameDrain, &wire.Drain{Reason: reason, DeadlineMs: deadlineMs})
	s.drain.askedByUs = true
	s.drains(reason, deadlineMs)
	if deadlineMs == 0 {
		s.end(refuse(reason, "drained at once"))
		return
	}
	s.maybeDrained()
}

func (s *Session) takeDrain(drain *wire.Drain) error {
	if drain.Reason == 0 || drain.Level > 5 {
		return malformed(errors.New("DRAIN"))
	}
	s.note(Event{Event: "DRAIN", Reason: drain.Reason, Level: drain.Level, DeadlineMs: drain.DeadlineMs})
	s.drain.askedByPeer = true
	s.drains(drain.Reason, drain.DeadlineMs)
	if drain.Level != 0 && drain.Epoch > s.peerEpoch {
		s.peerLevel, s.peerEpoch = drain.Level, drain.Epoch
	}
	s.maybeDrained()
	return nil
}

// drains keeps the one that ends soonest.
func (s *Session) drains(reason, deadlineMs uint32) {
	deadline := time.Now().Add(time.Duration(deadlineMs) * time.Millisecond)
	if s.drain.reason != 0 && !deadline.Before(s.drain.deadline) {
		return
	}
	if s.drain.timer != nil {
		s.drain.timer.Stop()
	}
	s.drain.reason, s.drain.deadline = reason, deadline
	if deadlineMs != 0 {
		s.drain.timer = s.after(time.Until(deadline), func() { s.end(refuse(reason, "the drain's deadline")) })
	}
}

func (s *Session) takeDrained() error {
	if s.drain.reason == 0 || s.drain.peerIsDone {
		return refuse(UnexpectedRecord, "DRAINED")
	}
	s.note(Event{Event: "DRAINED"})
	s.drain.peerIsDone = true
	s.maybeDrained()
	return nil
}

// maybeDrained says DRAINED once the last stream is over and read, and CLOSE when both did and we asked for it.
func (s *Session) maybeDrained() {
	if s.drain.reason == 0 || s.over != nil {
		return
	}
	if !s.drain.weAreDone && len(s.streams) == 0 {
		s.drain.weAreDone = true
		s.say([]byte{frameDrained})
	}
	if s.drain.weAreDone && s.drain.peerIsDone && s.drain.askedByUs {
		s.end(refuse(s.drain.reason, "drained"))
	}
}
