// Table reads the output of go test -bench and prints a line for each benchmark: this library's
// median divided by the baseline's.
package main

import (
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// lines are the benchmarks in the order of the table, with what they measure.
var lines = []struct{ benchmark, what string }{
	{"PatchToken", "`PatchToken` on loopback, three sets, a full token back"},
	{"PatchTokenAppend", "the same, two sets and an append"},
	{"GetToken", "`GetToken` on loopback, a full token back"},
	{"UpdateToken", "`UpdateToken` on loopback"},
	{"Parallel/goroutines=64", "`PatchToken` from 64 goroutines, two sets and an append"},
	{"Parallel/goroutines=1000", "the same from 1,000 goroutines"},
	{"EncodePatch", "build and encode a patch of three operations"},
	{"EncodePatch/jsonv2", "the same, both with `GOEXPERIMENT=jsonv2`"},
	{"DecodeToken", "decode a full token, unknown properties kept"},
	{"DecodeToken/jsonv2", "the same, both with `GOEXPERIMENT=jsonv2`"},
	{"Apply", "`ApplyJSON` on a full token"},
	{"Diff", "`Diff` of two full tokens"},
	{"Limiter/waiting=1000", "an attempt through the limiter, 1,000 waiting"},
	{"Limiter/waiting=10000", "an attempt through the limiter, 10,000 waiting"},
	{"Limiter/waiting=100000", "an attempt through the limiter, 100,000 waiting"},
}

type samples map[string][]float64 // by unit

func main() {
	results := read()
	fmt.Println("| what | beside | time | allocations |\n|---|---|---|---|")
	for _, line := range lines {
		ours, beside, theirs := line.benchmark+"/of=tokenpatch", "", ""
		for name := range results {
			if other, ok := strings.CutPrefix(name, line.benchmark+"/of="); ok && other != "tokenpatch" {
				beside, theirs = strings.Replace(other, "-", "/", 1), name
			}
		}
		if strings.HasPrefix(line.benchmark, "Limiter/") {
			ours, beside, theirs = line.benchmark, "itself, 1 waiting", "Limiter/waiting=1"
		}
		a, b := results[ours], results[theirs]
		if a == nil || b == nil {
			log.Fatalf("no results of %s and what it is compared with", line.benchmark)
		}
		fmt.Printf("| %s | %s | %.2f | %.0f : %.0f |\n", line.what, beside,
			median(a["sec/op"])/median(b["sec/op"]), median(a["allocs/op"]), median(b["allocs/op"]))
	}
}

func read() map[string]samples {
	results := make(map[string]samples)
	reader := benchfmt.NewReader(os.Stdin, "stdin")
	for reader.Scan() {
		result, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		base, parts := result.Name.Parts()
		name := string(base)
		for _, part := range parts {
			if part[0] == '/' {
				name += string(part) //nolint:modernize // of a few parts, a name is short
			}
		}
		if results[name] == nil {
			results[name] = make(samples)
		}
		for _, value := range result.Values {
			results[name][value.Unit] = append(results[name][value.Unit], value.Value)
		}
	}
	if err := reader.Err(); err != nil {
		log.Fatal(err)
	}
	return results
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
