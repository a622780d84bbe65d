package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/anishathalye/porcupine"
)

// Pairs invocations with ends as they come. Porcupine wants an end for each operation: one of unknown outcome gets
// it after all others, as in Porcupine's own tests; one that failed and observed nothing is left out.
type history struct {
	events  []porcupine.Event
	open    map[int]int // by process: the number of its operation
	unknown []int
	failed  map[int]bool
	begun   int
	values  map[string]int
}

func newHistory() *history {
	return &history{open: map[int]int{}, failed: map[int]bool{}, values: map[string]int{"null": 0}}
}

func (h *history) invoke(process int, call input) error {
	if _, busy := h.open[process]; busy {
		return fmt.Errorf("process %d has an operation open", process)
	}
	h.open[process] = h.begun
	h.events = append(h.events, porcupine.Event{
		ClientId: process, Kind: porcupine.CallEvent, Value: call, Id: h.begun,
	})
	h.begun++
	return nil
}

// Ends the process's operation, and gives back its number.
func (h *history) close(process int) (int, error) {
	number, known := h.open[process]
	if !known {
		return 0, fmt.Errorf("process %d has no operation open", process)
	}
	delete(h.open, process)
	return number, nil
}

func (h *history) end(process int, kind string, answer output) error {
	number, err := h.close(process)
	if err != nil {
		return err
	}
	switch {
	case kind == "ok" || kind == "fail" && answer.mismatch:
		h.events = append(h.events, porcupine.Event{
			ClientId: process, Kind: porcupine.ReturnEvent, Value: answer, Id: number,
		})
	case kind == "fail":
		h.failed[number] = true
	case kind == "info":
		h.unknown = append(h.unknown, number)
	default:
		return fmt.Errorf("there is no type '%s'", kind)
	}
	return nil
}

func (h *history) finish() []porcupine.Event {
	for _, number := range h.open {
		h.unknown = append(h.unknown, number)
	}
	for _, number := range h.unknown {
		h.events = append(h.events, porcupine.Event{
			Kind: porcupine.ReturnEvent, Value: output{unknown: true}, Id: number,
		})
	}
	if len(h.failed) == 0 {
		return h.events
	}
	kept := h.events[:0]
	for _, event := range h.events {
		if !h.failed[event.Id] {
			kept = append(kept, event)
		}
	}
	return kept
}

// A value's number.
func (h *history) value(text string) int {
	number, known := h.values[text]
	if !known {
		number = len(h.values)
		h.values[text] = number
	}
	return number
}

// Our histories of registers (docs/formats.md).
func readJSONLines(text string) ([]porcupine.Event, error) {
	h := newHistory()
	at := 0
	for line := range strings.Lines(text) {
		at++
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := h.jsonLine(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	return h.finish(), nil
}

func (h *history) jsonLine(line string) error {
	var event struct {
		Process int
		Type    string
		F       string
		Key     string
		Value   json.RawMessage
		Error   string
	}
	if err := json.Unmarshal([]byte(line), &event); err != nil {
		return err
	}
	if event.Type != "invoke" {
		answer := output{mismatch: event.F == "cas" && event.Error == "mismatch"}
		if event.F == "read" {
			answer.value = h.value(string(event.Value))
		}
		return h.end(event.Process, event.Type, answer)
	}
	call := input{f: event.F, key: event.Key}
	switch event.F {
	case "read":
	case "write":
		call.argument = h.value(string(event.Value))
	case "cas":
		var pair []json.RawMessage
		if err := json.Unmarshal(event.Value, &pair); err != nil || len(pair) != 2 {
			return fmt.Errorf("a cas takes [expected, new], not %s", event.Value)
		}
		call.expected, call.argument = h.value(string(pair[0])), h.value(string(pair[1]))
	default:
		return fmt.Errorf("a register has no '%s'", event.F)
	}
	return h.invoke(event.Process, call)
}

var etcdLine = regexp.MustCompile(`^INFO\s+jepsen\.util\s+-\s+(\d+)\s+:(\w+)\s+:(\w+)\s+(?:\[(\d+) (\d+)\]|(\S+))$`)

// What Jepsen logged of etcd, as Porcupine carries it.
func readEtcd(text string) ([]porcupine.Event, error) {
	h := newHistory()
	at := 0
	for line := range strings.Lines(text) {
		at++
		parts := etcdLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if parts == nil {
			return nil, fmt.Errorf("line %d: not a line of Jepsen's log", at)
		}
		process, _ := strconv.Atoi(parts[1])
		kind, f, expected, argument, value := parts[2], parts[3], parts[4], parts[5], parts[6]
		if value == "nil" {
			value = "null"
		}
		var err error
		switch {
		case kind != "invoke" && f == "read":
			err = h.end(process, kind, output{value: h.value(value)})
		case kind != "invoke":
			err = h.end(process, kind, output{mismatch: kind == "fail" && f == "cas"})
		case f == "cas":
			err = h.invoke(process, input{f: f, expected: h.value(expected), argument: h.value(argument)})
		case f == "write":
			err = h.invoke(process, input{f: f, argument: h.value(value)})
		default:
			err = h.invoke(process, input{f: f})
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	return h.finish(), nil
}

var keyValueLine = regexp.MustCompile(`^{:process (\d+), :type :(\w+), :f :(\w+), :key "([^"]*)", :value (?:nil|"([^"]*)")}$`)

// Histories of a key-value service, as Porcupine carries them.
func readKeyValue(text string) ([]porcupine.Event, error) {
	h := newHistory()
	at := 0
	for line := range strings.Lines(text) {
		at++
		parts := keyValueLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if parts == nil {
			return nil, fmt.Errorf("line %d: not a line of a key-value history", at)
		}
		process, _ := strconv.Atoi(parts[1])
		var err error
		if parts[2] == "invoke" {
			err = h.invoke(process, input{f: parts[3], key: parts[4], text: parts[5]})
		} else {
			err = h.end(process, parts[2], output{text: parts[5]})
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", at, err)
		}
	}
	return h.finish(), nil
}
