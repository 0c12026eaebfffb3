// Notices writes the licenses of what the command is linked of, on every system that it is released for. It finds them where go
// list finds the packages: in the module cache. A module without a license, or with one that is not known to allow this, is an
// error.
//
//	go run ./tools/notices -o third_party/NOTICES.txt    writes
//	go run ./tools/notices -check third_party/NOTICES.txt    fails if the file is out of date
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	command = "./cmd/tokenpatch"
	own     = "github.com/tokenpatch/tokenpatch"
)

func main() {
	out := flag.String("o", "", "write to this `FILE`")
	check := flag.String("check", "", "compare with this `FILE`")
	flag.Parse()
	if err := run(*out, *check); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
}

func run(out, check string) error {
	modules, err := linked()
	if err != nil {
		return err
	}
	text, err := notices(modules)
	switch {
	case err != nil:
		return err
	case out != "":
		return os.WriteFile(out, text, 0o644)
	case check == "":
		return errors.New("want -o FILE or -check FILE")
	}
	present, err := os.ReadFile(check)
	if err == nil && !bytes.Equal(present, text) {
		err = fmt.Errorf("%s is out of date: make notices", check)
	}
	return err
}

// module is a module that is linked, as go list prints it.
type module struct{ Path, Version, Dir string }

// linked lists the modules whose packages are linked on any system.
func linked() ([]module, error) {
	found := map[string]module{}
	for _, system := range []string{"linux", "darwin", "windows"} {
		for _, architecture := range []string{"amd64", "arm64"} {
			list := exec.Command("go", "list", "-deps", "-json=Module", command)
			list.Env = append(os.Environ(), "GOOS="+system, "GOARCH="+architecture, "CGO_ENABLED=0")
			list.Stderr = os.Stderr
			output, err := list.Output()
			if err != nil {
				return nil, err
			}
			if err := add(found, output); err != nil {
				return nil, err
			}
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b module) int { return strings.Compare(a.Path, b.Path) }), nil
}

// add reads packages as go list prints them. Those of the standard library have no module.
func add(found map[string]module, packages []byte) error {
	for decoder := json.NewDecoder(bytes.NewReader(packages)); ; {
		var one struct{ Module *module }
		if err := decoder.Decode(&one); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if one.Module != nil && !strings.HasPrefix(one.Module.Path, own) {
			found[one.Module.Path] = *one.Module
		}
	}
}

func notices(modules []module) ([]byte, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return nil, err
	}
	// Of Go there is no version: it differs from machine to machine, and "tokenpatch version" prints it.
	modules = append([]module{{Path: "the Go standard library", Dir: strings.TrimSpace(string(root))}}, modules...)
	names, texts := map[string]string{}, []string{} // the modules of each text, and the texts in their order
	for _, m := range modules {
		licenses, err := m.licenses()
		if err != nil {
			return nil, err
		}
		if names[licenses] == "" {
			texts = append(texts, licenses)
		}
		names[licenses] += strings.TrimSpace(m.Path+" "+m.Version) + "\n"
	}
	var file bytes.Buffer
	file.WriteString("The tokenpatch command contains software of others, under these licenses. Made by make notices.\n")
	for _, licenses := range texts {
		fmt.Fprintf(&file, "\n%s\n%s\n%s", strings.Repeat("=", 80), names[licenses], licenses)
	}
	return file.Bytes(), nil
}

var licenseFile = regexp.MustCompile(`(?i)^(licen[sc]e|copying|notice|patents|unlicense)([-._].*)?$`)

// allowed are phrases of licenses that allow to pass on a program with these notices: Apache-2.0, BSD, ISC, MIT, MPL-2.0, Unlicense.
var allowed = regexp.MustCompile(`Apache License\s+Version 2\.0|Redistribution and use in source and binary forms|` +
	`Permission to use, copy, modify, and(/or)? distribute this software|Permission is hereby granted, free of charge|` +
	`This is free and unencumbered software released into the public domain|Mozilla Public License,? [Vv]ersion 2\.0`)

// licenses are the texts of the files at the top of the module that hold licenses and notices.
func (m module) licenses() (string, error) {
	files, err := os.ReadDir(m.Dir)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.Path, err)
	}
	var texts []string
	for _, file := range files {
		if file.IsDir() || !licenseFile.MatchString(file.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(m.Dir, file.Name()))
		if err != nil {
			return "", err
		}
		texts = append(texts, strings.TrimSpace(strings.ReplaceAll(string(text), "\r\n", "\n"))+"\n")
	}
	all := strings.Join(texts, "\n")
	if !allowed.MatchString(all) {
		return "", fmt.Errorf("%s %s: no license that is known to allow this; look at it, and extend this program", m.Path, m.Version)
	}
	return all, nil
}
