// Mutate breaks a promise of the code on purpose and runs the tests that should notice. It changes no file: each mutation
// is an overlay of the go command. It fails if a test passes although its promise is broken.
//
//	mutate                 every mutation
//	mutate -sample 5       some of them, others each time
//	mutate -only redact    those whose file or promise contains a text
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// mutation is one change of the code that breaks a promise.
type mutation struct {
	promise  string
	file     string // from the root of the repository
	old, new string // old stands in the file once
	dir      string // of the module whose tests notice, from the root
	pkg, run string // arguments of go test
}

func main() {
	sample := flag.Int("sample", 0, "how many to try, at random; 0 is all")
	only := flag.String("only", "", "try those whose file or promise contains this")
	flag.Parse()
	chosen := slices.DeleteFunc(slices.Clone(mutations), func(m mutation) bool {
		return !strings.Contains(m.file, *only) && !strings.Contains(m.promise, *only)
	})
	if *sample > 0 {
		rand.Shuffle(len(chosen), func(i, j int) { chosen[i], chosen[j] = chosen[j], chosen[i] })
		chosen = chosen[:min(*sample, len(chosen))]
	}
	failed := 0
	for _, m := range chosen {
		began := time.Now()
		verdict, err := try(m)
		if err != nil {
			verdict = "FAILED: " + err.Error()
			failed++
		}
		fmt.Printf("%-8s %4.0fs  %s: %s\n", verdict, time.Since(began).Seconds(), m.file, m.promise)
	}
	fmt.Printf("%d of %d mutations were noticed\n", len(chosen)-failed, len(chosen))
	if failed > 0 || len(chosen) == 0 {
		os.Exit(1)
	}
}

// try makes one mutation, and returns an error unless a test fails by it.
func try(m mutation) (verdict string, err error) {
	overlay, err := m.overlay()
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(filepath.Dir(overlay))
	// A mutation may make a test wait for ever.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	test := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=90s", "-run", m.run, m.pkg)
	test.Dir = filepath.Join(root(), m.dir)
	// By the environment, since some tests build the program that they test.
	flags, err := exec.CommandContext(ctx, "go", "env", "GOFLAGS").Output()
	if err != nil {
		return "", err
	}
	test.Env = append(os.Environ(), "GOFLAGS="+strings.TrimSpace(string(flags))+" -overlay="+overlay)
	output, err := test.CombinedOutput()
	switch {
	case err == nil && bytes.Contains(output, []byte("no tests to run")):
		return "", fmt.Errorf("no test of %s matches %s", m.pkg, m.run)
	case err == nil:
		return "", errors.New("survived")
	case bytes.Contains(output, []byte("--- FAIL")), bytes.Contains(output, []byte("panic: ")):
		return "noticed", nil
	}
	return "", fmt.Errorf("not by a test: %s", output)
}

// overlay writes the mutated file and an overlay that puts it in the place of the file.
func (m mutation) overlay() (string, error) {
	path := filepath.Join(root(), filepath.FromSlash(m.file))
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.old); n != 1 {
		return "", fmt.Errorf("what it replaces stands there %d times, want once: %s", n, m.old)
	}
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return "", err
	}
	mutated, overlay := filepath.Join(dir, filepath.Base(path)), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err == nil {
		err = os.WriteFile(mutated, []byte(strings.Replace(string(text), m.old, m.new, 1)), 0o600)
	}
	if err == nil {
		err = os.WriteFile(overlay, replace, 0o600)
	}
	return overlay, err
}

// root is the folder with go.work, above the current one or the current one itself.
func root() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.work")); missing == nil {
			return dir
		}
		if filepath.Dir(dir) == dir {
			break
		}
		dir = filepath.Dir(dir)
	}
	fmt.Fprintln(os.Stderr, "mutate: run it inside the repository")
	os.Exit(2)
	return ""
}
