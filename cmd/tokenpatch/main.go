// Command tokenpatch changes the settings of access tokens, thousands of them, and tells what became of each. Its README
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
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/telemetry"
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
	log            logWriter
	telemetry      *telemetry.Telemetry // of commands that call the services, where it is asked for
}

// logWriter is where the log goes: to standard error, or above the progress bar while there is one.
type logWriter struct {
	stderr io.Writer
	mu     sync.Mutex
	above  io.Writer
}

func (l *logWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.above != nil {
		if n, err := l.above.Write(line); err == nil {
			return n, nil
		}
		l.above = nil // the bar has ended
	}
	return l.stderr.Write(line)
}

// show has lines go above the bar.
func (l *logWriter) show(above io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.above = above
}

func (a *app) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(&a.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
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
	c, a := commands[i], &app{stdin: stdin, stdout: stdout, stderr: stderr, log: logWriter{stderr: stderr}}
	err := c.parse(a, args[1:])
	if errors.Is(err, flag.ErrHelp) {
		c.writeHelp(stdout)
		return 0
	}
	if err == nil {
		ctx, stop := untilInterrupted(stderr)
		defer stop()
		err = c.do(ctx, a)
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

// do runs a command. What calls the services is traced and measured, where the environment asks for that.
func (c command) do(ctx context.Context, a *app) (err error) {
	if c.calls {
		if a.telemetry, err = telemetry.FromEnv(ctx, version(), &a.log, a.logger()); err != nil {
			return err
		}
		defer a.telemetry.Close()
	}
	return c.run(ctx, a)
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
