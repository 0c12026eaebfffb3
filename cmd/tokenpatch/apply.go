package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// apply makes the changes of a file, or goes on with those of a run.
func apply(ctx context.Context, a *app) error {
	file, err := a.openFile()
	if err != nil {
		return err
	}
	if file != nil {
		defer file.Close()
		if a.runName == "" {
			a.runName = filepath.Base(file.Name)
		}
	}
	config, err := a.config(file)
	if err != nil {
		return err
	}
	open := fleet.Open
	if file == nil {
		open = func(ctx context.Context, _ string) (*fleet.Store, error) { return a.openStore(ctx) }
	}
	store, err := open(ctx, a.db)
	if err != nil {
		return err
	}
	defer store.Close()
	if file != nil {
		if err := a.addFile(ctx, store, file); err != nil {
			return err
		}
	} else if err := a.needs(ctx, store, config); err != nil {
		return err
	}
	return a.work(ctx, store, config)
}

// openFile opens FILE; nil where there is none, and a run goes on.
func (a *app) openFile() (*changefile.File, error) {
	switch {
	case len(a.args) == 0 && a.runName == "":
		return nil, usageError{"want a FILE, or - for standard input, or -run to go on with a run"}
	case len(a.args) == 0:
		return nil, nil
	case a.args[0] == "-" && a.runName == "":
		return nil, usageError{"standard input has no name: want -run with one"}
	}
	return changefile.Open(a.args[0], a.stdin)
}

// config is how to reach the services that a file is about.
func (a *app) config(file *changefile.File) (tokenpatch.Config, error) {
	config := tokenpatch.ConfigFromEnv()
	config.HTTPClient = &http.Client{Timeout: a.timeout}
	config.UserAgent = "tokenpatch-command"
	if file != nil {
		if err := credentials(config, file.Name, file.V1, file.V2); err != nil {
			return config, err
		}
	}
	_, err := tokenpatch.NewClient(config)
	return config, err
}

// credentials sees to it that there is one for each API of which there is a change, in the lines that are given.
func credentials(config tokenpatch.Config, name string, v1, v2 int) error {
	if v1 > 0 && config.V1.APIKey == "" {
		return fmt.Errorf("%s: line %d is about a token of V1: want DEEPSET_API_KEY in the environment", name, v1)
	}
	if v2 > 0 && config.V2.AccessToken == "" {
		return fmt.Errorf("%s: line %d is about a token of V2: want LAUNCHDARKLY_ACCESS_TOKEN in the environment", name, v2)
	}
	return nil
}

// needs sees to it that there is a credential for each API of which something is pending.
func (a *app) needs(ctx context.Context, store *fleet.Store, config tokenpatch.Config) error {
	var v1, v2 int
	line := 0
	for result, err := range store.Results(ctx, a.runName) {
		if err != nil {
			return err
		}
		line++
		switch {
		case result.State != fleet.StatePending:
		case result.Change.Update != nil:
			v1 = max(v1, line)
		default:
			v2 = max(v2, line)
		}
	}
	return credentials(config, "run "+a.runName, v1, v2)
}

// addFile adds the changes of a file to the run, whose label holds the digests of its files.
func (a *app) addFile(ctx context.Context, store *fleet.Store, file *changefile.File) error {
	p, err := store.Progress(ctx, a.runName)
	if err != nil && !errors.As(err, new(*fleet.UnknownRunError)) {
		return err
	}
	digests := strings.Fields(p.Label)
	known := slices.Contains(digests, file.Digest)
	if p.Total() > 0 && !known && !a.add {
		return fmt.Errorf("run %q holds the changes of another file than %s as it is now: want that file, another -run, or -add", a.runName, file.Name)
	}
	added, err := store.Add(ctx, a.runName, iter.Seq2[fleet.Change, error](file.All()))
	if err != nil {
		return err
	}
	if !known {
		err = store.SetLabel(ctx, a.runName, strings.Join(append(digests, file.Digest), " "))
	}
	if p.Total() > 0 && added == 0 {
		fmt.Fprintf(a.stderr, "%s: going on, %d of %d are decided\n", printable(a.runName), p.Total()-p.Pending, p.Total())
	}
	return err
}

// work works on the run, and shows how far it is.
func (a *app) work(ctx context.Context, store *fleet.Store, config tokenpatch.Config) error {
	seen, shown := newTraffic(), a.progressView()
	config.Hooks = seen.hooks()
	if isPostgres(a.db) { // other machines may work on the run, and spend from the same rate limit
		config.Budget, config.V1.Account, config.V2.Account = store, a.runName, a.runName
	}
	w := &watcher{store: store, run: a.runName, traffic: seen, views: []view{shown}}
	if a.http != "" {
		if err := a.serve(ctx, w); err != nil {
			return err
		}
	}
	log := a.stderr
	if above, ok := shown.(io.Writer); ok {
		log = above
	}
	done := w.watch(ctx)
	err := store.Run(ctx, a.runName, fleet.Options{
		Client: config, Workers: a.workers, StopAfter: a.stopAfter, ServiceTime: a.timeout,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	err = errors.Join(ended(ctx, err), done())
	if err != nil {
		return err
	}
	return a.summary(context.WithoutCancel(ctx), store)
}

// serve has the run shown on a page.
func (a *app) serve(ctx context.Context, w *watcher) (err error) {
	if w.earlier.Windows, w.earlier.Refused, err = keptRequests(ctx, w.store, w.run); err != nil {
		return err
	}
	server, err := page.Listen(a.http, a.runName)
	if err != nil {
		return fmt.Errorf("-http: %w", err)
	}
	w.pages = append(w.pages, server)
	fmt.Fprintf(a.stderr, "the page is at %s\n", server.URL)
	return nil
}

// ended is an error of the program's own: not that it was interrupted, and not that the run stopped by itself, of which
// the summary tells.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.As(err, new(*fleet.StoppedError)) {
		return nil
	}
	return err
}

// summary says how the run stands, and returns the exit status by it.
func (a *app) summary(ctx context.Context, store *fleet.Store) error {
	p, err := store.Progress(ctx, a.runName)
	if err != nil {
		return err
	}
	writeProgress(a.stdout, p)
	if p.Pending > 0 {
		fmt.Fprintln(a.stdout, "the same command goes on")
	}
	return exitOf(p)
}
