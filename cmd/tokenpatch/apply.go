package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// apply makes the changes of a file, or goes on with those of a run.
func apply(ctx context.Context, a *app) error {
	if len(a.args) == 0 {
		return a.goOn(ctx)
	}
	if a.args[0] == "-" && a.runName == "" {
		return usageError{"standard input has no name: want -run with one"}
	}
	file, err := changefile.Open(a.args[0], a.stdin)
	if err != nil {
		return err
	}
	defer file.Close()
	a.runName = cmp.Or(a.runName, filepath.Base(file.Name))
	config := a.config()
	v1, v2 := needs(file)
	if err := credentials(config, v1, v2); err != nil {
		return err
	}
	if _, err := a.client(config); err != nil {
		return err
	}
	store, err := fleet.Open(ctx, a.db)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := a.addFile(ctx, store, file); err != nil {
		return err
	}
	return a.work(ctx, store, config)
}

// goOn goes on with a run whose file is not given.
func (a *app) goOn(ctx context.Context) error {
	if a.runName == "" {
		return usageError{"want a FILE, or - for standard input, or -run to go on with a run"}
	}
	store, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	config := a.config()
	var v1, v2 string
	for result, err := range store.Results(ctx, a.runName, fleet.StatePending) {
		switch {
		case err != nil:
			return err
		case result.Change.Update != nil:
			v1 = fmt.Sprintf("%s of run %q is a token of V1", result.Change.ID, a.runName)
		default:
			v2 = fmt.Sprintf("%s of run %q is a token of V2", result.Change.ID, a.runName)
		}
	}
	if err := credentials(config, v1, v2); err != nil {
		return err
	}
	return a.work(ctx, store, config)
}

// addFile adds the changes of a file to the run.
func (a *app) addFile(ctx context.Context, store *fleet.Store, file *changefile.File) error {
	p, err := store.Progress(ctx, a.runName)
	if err != nil && !errors.As(err, new(*fleet.UnknownRunError)) {
		return err
	}
	if p.Total() == 0 { // a new run, or one that was deleted and is made again
		err := updateKept(ctx, store, a.runName, func(k *kept) error { *k = newKept(); return nil })
		if err != nil {
			return err
		}
	}
	added, err := store.Add(ctx, a.runName, file.Edits(), fleet.AddOptions{Digest: file.Digest, More: a.add})
	if errors.As(err, new(*fleet.OtherChangesError)) {
		return fmt.Errorf("run %q holds other changes than those of %s as it is now: want another -run, or -add", a.runName, file.Name)
	}
	if err == nil && added == 0 && p.Total() > 0 {
		fmt.Fprintf(a.stderr, "%s: going on, %d of %d are decided\n", printable(a.runName), p.Total()-p.Pending, p.Total())
	}
	return err
}

// account is the account whose rate limit all runs of one Postgres database share.
const account = "tokenpatch"

// work works on the run, and shows how far it is.
func (a *app) work(ctx context.Context, store *fleet.Store, config tokenpatch.Config) error {
	if err := a.checkCaller(ctx, store, config); err != nil {
		return err
	}
	seen, shown := newTraffic(), a.progressView()
	config.Hooks = seen.hooks()
	if isPostgres(a.db) { // other machines may work on this run, and on others
		config.Budget, config.V1.Account, config.V2.Account = store, account, account
	}
	w := &watcher{store: store, run: a.runName, traffic: seen, view: shown}
	if a.http != "" {
		if err := a.serve(ctx, w); err != nil {
			return err
		}
	}
	options, err := a.telemetry.Run(fleet.Options{
		Client: config, Workers: a.workers, StopAfter: float64(a.stopAfter), ServiceTime: a.timeout, Logger: a.logger(),
	})
	if err != nil {
		return err
	}
	done := w.watch(ctx)
	err = store.Run(ctx, a.runName, options)
	err = errors.Join(unexpected(ctx, err), done())
	if err != nil {
		return err
	}
	return a.summary(ctx, store)
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

// unexpected is the error of a run, but nil where the run was interrupted, as somebody asked, or stopped by itself, which the
// summary tells.
func unexpected(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.As(err, new(*fleet.StoppedError)) {
		return nil
	}
	return err
}

// summary says how the run stands, and returns the exit status by it.
func (a *app) summary(ctx context.Context, store *fleet.Store) error {
	p, err := store.Progress(context.WithoutCancel(ctx), a.runName)
	if err != nil {
		return err
	}
	writeProgress(a.stdout, p)
	if p.NotApplied+p.Unknown > 0 {
		fmt.Fprintf(a.stdout, "tokenpatch report -run %s tells why\n", printable(a.runName))
	}
	if p.Pending > 0 {
		fmt.Fprintln(a.stdout, "the same command goes on with what is pending")
	}
	if p.Pending > 0 && context.Cause(ctx) == errInterrupted {
		return exitStatus(exitInterrupted)
	}
	return exitOf(p)
}
