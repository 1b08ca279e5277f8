package main

import (
	"encoding/binary"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"shellstream.test/go-peer/wire"
)

// Frame types, §4.
const (
	frameGrant        = 1
	frameDeny         = 2
	framePosture      = 3
	frameDrain        = 4
	frameDrained      = 5
	frameTunnel       = 6
	frameReattest     = 7
	frameStreamOpen   = 8
	frameStreamData   = 9
	frameStreamWindow = 10
	frameStreamClose  = 11
	framePing         = 12
	framePong         = 13
	frameClose        = 14
)

const chunk = 32_768

var frameNames = map[byte]string{
	frameGrant: "GRANT", frameDeny: "DENY", framePosture: "POSTURE", frameDrain: "DRAIN", frameDrained: "DRAINED",
	frameTunnel: "TUNNEL", frameReattest: "REATTEST", frameStreamOpen: "STREAM_OPEN", frameStreamData: "STREAM_DATA",
	frameStreamWindow: "STREAM_WINDOW", frameStreamClose: "STREAM_CLOSE", framePing: "PING", framePong: "PONG", frameClose: "CLOSE",
}

var frameLimits = map[byte]int{frameGrant: 16_384, frameDrained: 0, frameReattest: 65_508, frameStreamData: 32_772}

// Frame is one that was read: a message, or a piece of a stream.
type Frame struct {
	Kind    byte
	Message proto.Message
	Stream  uint32
	Data    []byte
}

func parseFrame(plaintext []byte) (*Frame, error) {
	if len(plaintext) == 0 {
		return nil, malformed(errors.New("a frame without a type"))
	}
	kind, body := plaintext[0], plaintext[1:]
	if frameNames[kind] == "" {
		return nil, refuse(UnexpectedRecord, "frame %d", kind)
	}
	limit, known := frameLimits[kind]
	if !known {
		limit = 128
	}
	if len(body) > limit {
		return nil, malformed(fmt.Errorf("%s of %d bytes", frameNames[kind], len(body)))
	}
	if kind == frameStreamData {
		if len(body) < 5 {
			return nil, malformed(errors.New("STREAM_DATA without data"))
		}
		return &Frame{Kind: kind, Stream: binary.BigEndian.Uint32(body), Data: body[4:]}, nil
	}
	message, err := parse(emptyBody(kind), body)
	return &Frame{Kind: kind, Message: message}, err
}

func emptyBody(kind byte) proto.Message {
	switch kind {
	case frameGrant:
		return &wire.Grant{}
	case frameDeny:
		return &wire.Deny{}
	case framePosture:
		return &wire.Posture{}
	case frameDrain:
		return &wire.Drain{}
	case frameTunnel:
		return &wire.Tunnel{}
	case frameReattest:
		return &wire.Reattest{}
	case frameStreamOpen:
		return &wire.StreamOpen{}
	case frameStreamWindow:
		return &wire.StreamWindow{}
	case frameStreamClose:
		return &wire.StreamClose{}
	case framePing:
		return &wire.Ping{}
	case framePong:
		return &wire.Pong{}
	case frameClose:
		return &wire.Close{}
	default:
		return &wire.Drained{}
	}
}

func encodeFrame(kind byte, message proto.Message) []byte {
	return append([]byte{kind}, must(proto.Marshal(message))...)
}

func encodeData(stream uint32, data []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{frameStreamData}, stream), data...)
}

// answer reads what follows ATTEST-CONFIRM: a grant, or why not.
func (a *Attestation) answer(plaintext []byte) (*Accepted, error) {
	frame, err := parseFrame(plaintext)
	if err != nil {
		return nil, err
	}
	switch message := frame.Message.(type) {
	case *wire.Grant:
		return a.Accept(message)
	case *wire.Deny:
		return nil, &Refusal{Reason: message.Reason, Told: "DENY"}
	default:
		return nil, refuse(UnexpectedRecord, "%s instead of an answer", frameNames[frame.Kind])
	}
}
