package main

import (
	"hash/maphash"
	"maps"

	"github.com/anishathalye/porcupine"
)

// What an operation does; functions that a model does not have never get here.
type input struct {
	f   string
	key string
	// A register's values are numbered (see values); null is 0.
	argument, expected int
	// A map's are strings.
	text string
}

// How it ended. Of an operation of unknown outcome nobody knows whether it found what it needed.
type output struct {
	unknown  bool
	mismatch bool
	value    int
	text     string
}

// Registers with reads, writes and compare-and-sets, as in the model of etcd in Porcupine's tests.
var registers = porcupine.Model{
	PartitionEvent: byKey,
	Init:           func() any { return 0 },
	Step: func(state, in, out any) (bool, any) {
		held, call, end := state.(int), in.(input), out.(output)
		switch call.f {
		case "read":
			return end.unknown || end.value == held, state
		case "write":
			return true, call.argument
		default:
			hit := call.expected == held
			if hit {
				return end.unknown || !end.mismatch, call.argument
			}
			return end.unknown || end.mismatch, state
		}
	},
	Hash: func(state any) uint64 { return uint64(state.(int)) * 0x9e3779b97f4a7c15 },
}

// A map from strings to strings with get, put and append, each key judged by itself.
var mapByKey = porcupine.Model{
	PartitionEvent: byKey,
	Init:           func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		return step(state.(string), in.(input), out.(output))
	},
	Hash: func(state any) uint64 { return maphash.String(seed, state.(string)) },
}

// The same, judged whole: as Porcupine's own tests do, to show what that costs.
var wholeMap = porcupine.Model{
	Init: func() any { return map[string]string{} },
	Step: func(state, in, out any) (bool, any) {
		content, call := state.(map[string]string), in.(input)
		possible, next := step(content[call.key], call, out.(output))
		if call.f == "get" {
			return possible, state
		}
		changed := maps.Clone(content)
		changed[call.key] = next
		return possible, changed
	},
	Equal: func(one, other any) bool { return maps.Equal(one.(map[string]string), other.(map[string]string)) },
	Hash: func(state any) uint64 {
		sum := uint64(0)
		for key, value := range state.(map[string]string) {
			sum ^= maphash.String(seed, key+"\x00"+value)
		}
		return sum
	},
}

var seed = maphash.MakeSeed()

func step(held string, call input, end output) (bool, string) {
	switch call.f {
	case "get":
		return end.unknown || end.text == held, held
	case "put":
		return true, call.text
	default:
		return true, held + call.text
	}
}

func byKey(history []porcupine.Event) [][]porcupine.Event {
	numbers := map[string]int{}
	of := map[int]int{}
	var parts [][]porcupine.Event
	for _, event := range history {
		if event.Kind == porcupine.CallEvent {
			key := event.Value.(input).key
			number, known := numbers[key]
			if !known {
				number = len(parts)
				numbers[key] = number
				parts = append(parts, nil)
			}
			of[event.Id] = number
		}
		part := of[event.Id]
		parts[part] = append(parts[part], event)
	}
	return parts
}
