package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
)

// unfinished is the name of a temporary file, which becomes the output when it is complete.
type unfinished struct{ name atomic.Pointer[string] }

// remove removes the file, if there is one.
func (u *unfinished) remove() {
	if name := u.name.Swap(nil); name != nil {
		_ = os.Remove(*name)
	}
}

// output writes to the file of -o, or to standard output.
func (a *app) output(write func(io.Writer) error) error {
	if a.out == "" || a.out == "-" {
		return flushed(a.stdout, write)
	}
	if err := a.replace(a.out, write); err != nil {
		return fmt.Errorf("-o %s: %w", a.out, err)
	}
	return nil
}

// flushed calls write with a buffer in front of w.
func flushed(w io.Writer, write func(io.Writer) error) error {
	buffer := bufio.NewWriter(w)
	return cmp.Or(write(buffer), buffer.Flush())
}

// replace writes a regular file whole or not at all. It writes into a device or a pipe, and
// replaces the target of a symbolic link.
func (a *app) replace(path string, write func(io.Writer) error) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return writeInto(path, write)
	}
	path = linkTarget(path)
	file, err := os.CreateTemp(filepath.Dir(path), ".tokenpatch-*")
	if err != nil {
		return errors.Unwrap(err) // the error has the name of another file
	}
	name := file.Name()
	a.unfinished.name.Store(&name)
	defer a.unfinished.remove()
	if info != nil {
		err = file.Chmod(info.Mode().Perm())
	}
	if err := cmp.Or(err, flushed(file, write), file.Sync(), file.Close()); err != nil {
		_ = file.Close()
		return err
	}
	return os.Rename(name, path)
}

func writeInto(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return errors.Unwrap(err)
	}
	return errors.Join(flushed(file, write), file.Close())
}

const maxLinks = 40 // in a chain

// linkTarget follows symbolic links, also to a file that does not exist yet.
func linkTarget(path string) string {
	for range maxLinks {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	return path
}

// checkOutput refuses a -o that would destroy an input of the command, or a database.
func (a *app) checkOutput(inputs ...string) error {
	if a.out == "" {
		return nil
	}
	if a.db != "" && !isPostgres(a.db) {
		inputs = append(inputs, a.db, a.db+"-wal", a.db+"-shm")
	}
	for _, input := range inputs {
		if sameFile(a.out, input) {
			return usageError{fmt.Sprintf("-o %s: want another file: this one is %s, which would be lost", a.out, input)}
		}
	}
	return nil
}

// sameFile reports whether two paths name one file, which may not exist yet.
func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errA == nil && errB == nil {
		return infoA.Mode().IsRegular() && os.SameFile(infoA, infoB)
	}
	absA, errA := filepath.Abs(linkTarget(a))
	absB, errB := filepath.Abs(linkTarget(b))
	return errA == nil && errB == nil && absA == absB
}
