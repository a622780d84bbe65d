// Judges histories with Porcupine, to compare verdicts and speed with ours.
//
//	porcupine [-timeout 60s] [-whole] HISTORY…
//
// prints a JSON line for each history: its verdict (ok, illegal, or unknown after the timeout), the seconds that
// reading it and checking it took, and the memory that checking added at its peak.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

type report struct {
	File       string  `json:"file"`
	Operations int     `json:"operations"`
	Verdict    string  `json:"verdict"`
	LoadS      float64 `json:"load_s"`
	Seconds    float64 `json:"seconds"`
	// Of the process, so it counts for the first history only; absent where the system does not tell.
	PeakBytes int64 `json:"peak_bytes,omitempty"`
}

var verdicts = map[porcupine.CheckResult]string{
	porcupine.Ok:      "ok",
	porcupine.Illegal: "illegal",
	porcupine.Unknown: "unknown",
}

func main() {
	timeout := flag.Duration("timeout", 0, "give up a history after so long; 0: never")
	whole := flag.Bool("whole", false, "judge key-value histories without parting them by key")
	flag.Parse()
	output := json.NewEncoder(os.Stdout)
	for _, file := range flag.Args() {
		report, err := check(file, *timeout, *whole)
		if err == nil {
			err = output.Encode(report)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "porcupine: %s: %v\n", file, err)
			os.Exit(2)
		}
	}
}

func check(file string, timeout time.Duration, whole bool) (report, error) {
	began := time.Now()
	model, events, err := load(file, whole)
	if err != nil {
		return report{}, err
	}
	loaded := time.Since(began)
	debug.FreeOSMemory()
	// Forgets the peak so far (proc(5), clear_refs).
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
	before := status("VmRSS")
	began = time.Now()
	verdict := porcupine.CheckEventsTimeout(model, events, timeout)
	checked := time.Since(began)
	return report{
		File:       file,
		Operations: len(events) / 2,
		Verdict:    verdicts[verdict],
		LoadS:      loaded.Seconds(),
		Seconds:    checked.Seconds(),
		PeakBytes:  max(status("VmHWM")-before, 0),
	}, nil
}

func load(file string, whole bool) (porcupine.Model, []porcupine.Event, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return porcupine.Model{}, nil, err
	}
	text := string(content)
	switch extension := filepath.Ext(file); extension {
	case ".jsonl":
		events, err := readJSONLines(text)
		return registers, events, err
	case ".log":
		events, err := readEtcd(text)
		return registers, events, err
	case ".txt":
		events, err := readKeyValue(text)
		if whole {
			return wholeMap, events, err
		}
		return mapByKey, events, err
	default:
		return porcupine.Model{}, nil, fmt.Errorf("a history ends in .jsonl (ours), .log (etcd) or .txt (key-value), not '%s'", extension)
	}
}

// The process's figure of this name, in bytes; 0 where the system does not tell.
func status(name string) int64 {
	content, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(content)) {
		if value, found := strings.CutPrefix(line, name+":"); found {
			kilobytes, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kilobytes * 1024
		}
	}
	return 0
}
