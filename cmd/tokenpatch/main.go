// Command tokenpatch changes the settings of access tokens, thousands of them, and tells what became of each. Its README
// is a tour; tokenpatch -h and -h of each of its commands are the reference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
)

// Exit statuses.
const (
	exitError      = 1 // of the program's own: the database, the file, the credential
	exitUsage      = 2
	exitNotApplied = 3 // something was not applied, or is pending
	exitUnknown    = 4
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// app is what a command has to work with.
type app struct {
	options
	args           []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// exitStatus ends the program with a status; why has been said already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake in how the program was called.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) > 1 && args[0] == "help" {
		args = []string{args[1], "-h"}
	}
	switch {
	case len(args) == 0 || slices.Contains([]string{"-h", "-help", "--help", "help"}, args[0]):
		writeHelp(stdout)
		return 0
	case slices.Contains([]string{"-version", "--version", "version"}, args[0]):
		fmt.Fprintln(stdout, "tokenpatch", version())
		return 0
	}
	i := slices.IndexFunc(commands, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		fmt.Fprintf(stderr, "tokenpatch %s: there is no such command: want one of %s\n", printable(args[0]), names())
		return exitUsage
	}
	c, a := commands[i], &app{stdin: stdin, stdout: stdout, stderr: stderr}
	err := c.parse(a, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		c.writeHelp(stdout)
		return 0
	}
	if err == nil {
		ctx, stop := untilInterrupted(stderr)
		defer stop()
		err = c.run(ctx, a)
	}
	return report(stderr, c.name, err)
}

// version is that of the module which the program was built from; "(devel)" is a clone of the repository.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return info.Main.Version
}

// report says why a command ended, and returns its exit status.
func report(stderr io.Writer, name string, err error) int {
	var status exitStatus
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "tokenpatch %s: %s\n", name, printable(usage.text))
		return exitUsage
	default:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			fmt.Fprintf(stderr, "tokenpatch %s: %s\n", name, printable(line))
		}
		return exitError
	}
}

// untilInterrupted returns a context that ends at the first interrupt. The second ends the program at once.
func untilInterrupted(stderr io.Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	interrupts := make(chan os.Signal, 2)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-interrupts:
		case <-ctx.Done():
			return
		}
		fmt.Fprintln(stderr, "\ntokenpatch: stopping: waiting for what was sent; interrupt again to stop at once")
		cancel()
		<-interrupts
		os.Exit(exitNotApplied)
	}()
	return ctx, func() {
		signal.Stop(interrupts)
		cancel()
	}
}
