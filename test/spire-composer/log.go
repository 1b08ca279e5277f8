package main

import (
	"bytes"
	"encoding/json"
)

func (l *logLines) lines() []map[string]any {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	lines := []map[string]any{}
	for _, line := range bytes.Split(l.text, []byte("\n")) {
		var entry map[string]any
		if json.Unmarshal(line, &entry) == nil {
			lines = append(lines, entry)
		}
	}
	return lines
}

func (l *logLines) contain(message string) bool {
	for _, line := range l.lines() {
		if line["@message"] == message {
			return true
		}
	}
	return false
}
