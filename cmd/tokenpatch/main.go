// Command tokenpatch changes the settings of access tokens, thousands of them, and reports the outcome of each. Its README
// is a tour; tokenpatch -h and -h of each of its commands are the reference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/telemetry"
	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// Exit statuses.
const (
	exitError       = 1 // the command could not do its job: the database, the file, the credential
	exitUsage       = 2
	exitNotApplied  = 3 // something was not applied, or is pending
	exitUnknown     = 4
	exitFindings    = 5 // of an audit
	exitInterrupted = 130
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// app is what a command works with.
type app struct {
	options
	args       []string
	stdin      io.Reader
	terminal   *os.File // standard error, if it is a file
	stdout     *checkedWriter
	stderr     *screen
	unfinished unfinished
	newest     bool                 // of several runs is meant, if none is named
	inFlight   atomic.Bool          // there may be requests that change tokens
	identified bool                 // identity was asked for
	identity   *tokenpatch.Identity // of V2's credential; nil if it could not be read
	telemetry  *telemetry.Telemetry // of commands that call the services, if the environment asks for it
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	terminal, _ := stderr.(*os.File)
	return &app{stdin: stdin, terminal: terminal, stdout: &checkedWriter{Writer: stdout}, stderr: &screen{stderr: stderr}}
}

func (a *app) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// exitStatus ends the program with a status. The reason has been printed already.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// usageError is a mistake in how the program was called.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// errInterrupted is the cause of a context ended by a signal.
var errInterrupted = errors.New("interrupted")

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	name := "help"
	if len(args) > 0 {
		name, args = strings.TrimLeft(args[0], "-"), args[1:]
	}
	if name == "h" {
		name = "help"
	}
	c, err := findCommand(name)
	if err == nil {
		err = a.run(c, args)
	}
	return a.exit(c.name, err)
}

// findCommand returns the command with a name, or an error with the nearest one.
func findCommand(name string) (command, error) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i >= 0 {
		return all[i], nil
	}
	return command{name: name}, usageError{"no such command" + suggest.Hint(name, names())}
}

// run runs a command. One that calls the services is traced and measured if the environment asks for that.
func (a *app) run(c command, args []string) (err error) {
	if c.name != "__complete" {
		err = c.parse(a, args)
	} else {
		a.args = args
	}
	if errors.Is(err, flag.ErrHelp) {
		c.writeHelp(a.stdout)
		return nil
	}
	if err != nil {
		return err
	}
	ctx, stop := a.untilInterrupted(c.name)
	defer stop()
	if c.calls {
		if a.telemetry, err = telemetry.FromEnv(ctx, version(), printableWriter{a.stderr}, a.logger()); err != nil {
			return err
		}
		defer a.telemetry.Close()
	}
	err = c.run(ctx, a)
	if err != nil && !errors.As(err, new(exitStatus)) && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

// exit prints why a command ended, and returns the program's exit status.
func (a *app) exit(name string, err error) int {
	var status exitStatus
	var usage usageError
	lost := a.stdout.err
	switch {
	case errors.Is(lost, syscall.EPIPE), errors.Is(err, syscall.EPIPE):
		return exitError // nobody reads any more
	case lost != nil:
		fmt.Fprintf(a.stderr, "tokenpatch %s: standard output: %v\n", name, lost)
		return exitError
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "tokenpatch %s: %s\n", printable(name), printable(usage.text))
		return exitUsage
	}
	for line := range strings.SplitSeq(err.Error()+refusedVariable(err), "\n") {
		fmt.Fprintf(a.stderr, "tokenpatch %s: %s\n", name, printable(strings.TrimPrefix(line, "tokenpatch: ")))
	}
	if errors.Is(err, errInterrupted) {
		return exitInterrupted
	}
	return exitError
}

// untilInterrupted returns a context that ends at the first signal. The second one ends the program
// at once. A closed pipe is an error of the write, not a signal, so temporary files are removed.
func (a *app) untilInterrupted(name string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
			return
		}
		if a.inFlight.Load() {
			fmt.Fprintf(a.stderr, "\ntokenpatch %s: stopping: waiting for requests in flight; interrupt again to stop at once\n", name)
		}
		cancel(errInterrupted)
		<-signals
		a.unfinished.remove()
		os.Exit(exitInterrupted)
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
