package main

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	maxDepth  = 8
	maxFields = 4096
)

// parse reads a message as strictly as §3 asks: Go's own parser takes unknown fields, repeated singular ones, numbers
// outside their type and unknown enum values.
func parse[M proto.Message](into M, from []byte) (M, error) {
	counted := 0
	if err := walk(into.ProtoReflect().Descriptor(), from, 1, &counted); err != nil {
		return into, malformed(fmt.Errorf("%s: %w", into.ProtoReflect().Descriptor().Name(), err))
	}
	if err := proto.Unmarshal(from, into); err != nil {
		return into, malformed(err)
	}
	return into, nil
}

func walk(message protoreflect.MessageDescriptor, from []byte, depth int, counted *int) error {
	if depth > maxDepth {
		return errors.New("nested too deep")
	}
	seen := map[protowire.Number]bool{}
	for len(from) > 0 {
		number, kind, length := protowire.ConsumeTag(from)
		if length < 0 {
			return protowire.ParseError(length)
		}
		from = from[length:]
		field := message.Fields().ByNumber(number)
		if field == nil {
			return fmt.Errorf("unknown field %d", number)
		}
		if seen[number] && !field.IsList() {
			return fmt.Errorf("%s comes twice", field.Name())
		}
		seen[number] = true
		var err error
		if from, err = value(field, kind, from, depth, counted); err != nil {
			return fmt.Errorf("%s: %w", field.Name(), err)
		}
	}
	for at := range message.Fields().Len() {
		field := message.Fields().Get(at)
		if field.Kind() == protoreflect.EnumKind && !field.IsList() && !seen[field.Number()] {
			return fmt.Errorf("%s is unspecified", field.Name())
		}
	}
	return nil
}

// value checks one value of the field and returns what follows it.
func value(field protoreflect.FieldDescriptor, kind protowire.Type, from []byte, depth int, counted *int) ([]byte, error) {
	scalar := field.Kind() != protoreflect.BytesKind && field.Kind() != protoreflect.StringKind && field.Kind() != protoreflect.MessageKind
	switch {
	case kind == protowire.VarintType && scalar:
		return number(field, from, counted)
	case kind == protowire.BytesType && (!scalar || field.IsList()):
	default:
		return nil, fmt.Errorf("wire type %d", kind)
	}
	content, length := protowire.ConsumeBytes(from)
	if length < 0 {
		return nil, protowire.ParseError(length)
	}
	var err error
	switch {
	case scalar:
		for packed := content; len(packed) > 0 && err == nil; {
			packed, err = number(field, packed, counted)
		}
	case field.Kind() == protoreflect.MessageKind:
		if err = count(counted); err == nil {
			err = walk(field.Message(), content, depth+1, counted)
		}
	case field.Kind() == protoreflect.StringKind && !utf8.Valid(content):
		err = errors.New("no UTF-8")
	default:
		err = count(counted)
	}
	return from[length:], err
}

func number(field protoreflect.FieldDescriptor, from []byte, counted *int) ([]byte, error) {
	read, length := protowire.ConsumeVarint(from)
	if length < 0 {
		return nil, protowire.ParseError(length)
	}
	allowed := false
	switch field.Kind() {
	case protoreflect.BoolKind:
		allowed = read <= 1
	case protoreflect.Uint32Kind:
		allowed = read <= math.MaxUint32
	case protoreflect.Uint64Kind:
		allowed = true
	case protoreflect.EnumKind:
		allowed = read != 0 && read <= math.MaxInt32 && field.Enum().Values().ByNumber(protoreflect.EnumNumber(read)) != nil
	}
	if !allowed {
		return nil, fmt.Errorf("%d is outside its type", read)
	}
	return from[length:], count(counted)
}

func count(counted *int) error {
	if *counted++; *counted > maxFields {
		return errors.New("too many fields")
	}
	return nil
}
