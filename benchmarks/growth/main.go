// Growth prints the cost of an operation of a patch, and of a kilobyte of a token, in patches and
// tokens of different sizes. If a line stays level, the whole grows linearly.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/tokenpatch/tokenpatch"
)

var (
	operations = []int{1, 10, 100, 1_000, 10_000}
	kilobytes  = []int{1, 10, 100, 1_000}
)

func main() {
	testing.Init()
	if err := flag.Set("test.benchtime", "50ms"); err != nil {
		log.Fatal(err)
	}
	fmt.Print("| nanoseconds an operation, in a patch of |")
	printTable(operations, patches)
	fmt.Print("\n| nanoseconds a kilobyte, in a token of so many |")
	printTable(kilobytes, tokens)
}

// subject is what is measured, with what it needs made ready.
type subject struct {
	name string
	do   func() error
}

// printTable prints a table with a column for each size and a line for each subject.
func printTable(sizes []int, subjects func(size int) []subject) {
	cells := map[string][]string{}
	var names []string
	for i, size := range sizes {
		fmt.Printf(" %d |", size)
		for _, s := range subjects(size) {
			if i == 0 {
				names = append(names, s.name)
			}
			cells[s.name] = append(cells[s.name], strconv.Itoa(measure(s)/size))
		}
	}
	fmt.Println("\n|---" + strings.Repeat("|--:", len(sizes)) + "|")
	for _, name := range names {
		fmt.Printf("| %s | %s |\n", name, strings.Join(cells[name], " | "))
	}
}

// measure returns nanoseconds: the least of some runs, since whatever else the
// machine does adds to a run.
func measure(s subject) int {
	best := math.MaxInt
	for range 5 {
		best = min(best, int(testing.Benchmark(s.benchmark).NsPerOp()))
	}
	return best
}

func (s subject) benchmark(b *testing.B) {
	for b.Loop() {
		if err := s.do(); err != nil {
			log.Fatalf("%s: %v", s.name, err)
		}
	}
}

// patches are about a patch of n operations, each on a member of its own or
// each an append to one list.
func patches(n int) []subject {
	members, appends := ofMembers(n), ofAppends(n)
	body := must(members.MarshalJSON())
	var before tokenpatch.Token
	document := objectOf(n)
	if err := json.Unmarshal(document, &before); err != nil {
		log.Fatal(err)
	}
	return []subject{
		{"build", func() error { return ofMembers(n).Err() }},
		{"encode", func() error { _, err := members.MarshalJSON(); return err }},
		{"decode", func() error { return new(tokenpatch.Patch).UnmarshalJSON(body) }},
		{"`Replay`, members", func() error { return want(tokenpatch.ReplayIdempotent, members.Replay()) }},
		{"`Replay`, appends", func() error { return want(tokenpatch.ReplayGuarded, appends.Replay()) }},
		{"`ApplyJSON`, members", func() error { _, err := members.ApplyJSON(document); return err }},
		{"`ApplyJSON`, appends", func() error { _, err := appends.ApplyJSON([]byte(`{"customRoleIds":null}`)); return err }},
		{"`Apply`, members", func() error { _, err := members.Apply(before); return err }},
		{"`Guard`, members", func() error { return members.Guard(before).Err() }},
	}
}

func ofMembers(n int) *tokenpatch.Patch {
	patch := tokenpatch.NewPatch()
	for i := range n {
		patch.Replace(tokenpatch.Pointer("/member"+strconv.Itoa(i)), "value")
	}
	return patch
}

func ofAppends(n int) *tokenpatch.Patch {
	patch := tokenpatch.NewPatch().SetCustomRoleIDs()
	for range n {
		patch.AddCustomRoleID("5f0c1f2e3d4b5a6978879601")
	}
	return patch
}

// objectOf returns an object of n members unknown to tokens.
func objectOf(n int) []byte {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"member%d":%d`, i, i)
	}
	return []byte("{" + strings.Join(members, ",") + "}")
}

func want(want, got tokenpatch.Replay) error {
	if got != want {
		return fmt.Errorf("want %v, got %v", want, got)
	}
	return nil
}

// tokens are about a token whose JSON has n kilobytes or somewhat more: most of
// it statements and custom roles.
func tokens(n int) []subject {
	body := tokenOf(n)
	var before tokenpatch.Token
	if err := json.Unmarshal(body, &before); err != nil {
		log.Fatal(err)
	}
	after := before.Clone()
	last := &after.InlineRole.Or(nil)[len(after.InlineRole.Or(nil))-1]
	last.Actions = append(last.Actions, "deleteFlag")
	diff := tokenpatch.Diff(before, after)
	return []subject{
		{"decode", func() error { return new(tokenpatch.Token).UnmarshalJSON(body) }},
		{"encode", func() error { _, err := before.MarshalJSON(); return err }},
		{"`Diff`", func() error { return tokenpatch.Diff(before, after).Err() }},
		{"`Guard`", func() error { return diff.Guard(before).Err() }},
		{"`Apply`", func() error { _, err := diff.Apply(before); return err }},
		{"`ApplyJSON`", func() error { _, err := diff.ApplyJSON(body); return err }},
	}
}

func tokenOf(kilobytes int) []byte {
	const statement = `{"resources":["proj/*:env/production:flag/*"],"actions":["updateOn","updateRules"],"effect":"deny"}`
	const role = `"5f0c1f2e3d4b5a6978879601"`
	n := kilobytes * 1024 / (len(statement) + len(role) + 2)
	repeat := func(value string) string { return strings.TrimSuffix(strings.Repeat(value+",", n), ",") }
	return []byte(`{"_id":"61095542756dba551110ae21","ownerId":"569f514156e003339cfd3917","memberId":"569f514183f2164430000002",
		"name":"deployer","creationDate":1628001602644,"lastModified":1628001602644,"_links":{},
		"customRoleIds":[` + repeat(role) + `],"inlineRole":[` + repeat(statement) + `]}`)
}

func must(body []byte, err error) []byte {
	if err != nil {
		log.Fatal(err)
	}
	return body
}
