package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// apply makes the changes of a file, or resumes a run.
func apply(ctx context.Context, a *app) error {
	if len(a.args) == 0 {
		return a.resume(ctx)
	}
	file, err := a.openNamed()
	if err != nil {
		return err
	}
	defer file.Close()
	if err := errors.Join(a.checkDigest(file), a.checkSize(file.Changes, file.Rows)); err != nil {
		return err
	}
	config := a.config()
	v1, v2 := needs(file)
	if err := credentials(config, v1, v2); err != nil {
		return err
	}
	client, err := a.client(config)
	if err != nil {
		return err
	}
	before, err := a.startedBefore(file)
	if err != nil {
		return err
	}
	store, err := fleet.Open(ctx, a.db)
	if err != nil {
		return err
	}
	defer store.Close()
	isNew, proceed, err := a.begin(ctx, store, client, file, before)
	if err != nil || !proceed {
		return err
	}
	err = a.work(ctx, store, config)
	if roles := (*fleet.RolesError)(nil); isNew && errors.As(err, &roles) {
		return a.refuse(ctx, store, file, roles)
	}
	return err
}

// refuse removes a run that could not begin, so FILE can be corrected and applied by its name, and
// returns the mistakes.
func (a *app) refuse(ctx context.Context, store *fleet.Store, file *changefile.File, roles *fleet.RolesError) error {
	if err := store.Delete(ctx, a.runName); err != nil {
		return err
	}
	if file.HasName() {
		if err := os.Remove(file.Name + ".started"); err != nil {
			return err
		}
	}
	mistakes := &changefile.MistakesError{File: file.Name}
	for _, mistake := range roles.Mistakes {
		mistakes.Add(0, mistake)
	}
	return fmt.Errorf("%w\n%s of %s, the first of token %s, cannot be made: nothing was sent", mistakes, count(roles.Changes, "change"), file.Name, roles.Token)
}

// checkDigest refuses a file other than the approved one.
func (a *app) checkDigest(file *changefile.File) error {
	if a.digest == "" || strings.EqualFold(a.digest, file.Digest) {
		return nil
	}
	return fmt.Errorf("%s has the sha256 %s, not the one of -digest: it is not what was approved", file.Name, file.Digest)
}

// begin makes the run of a file, or finds it, and reports whether it is new, and whether there is anything to do.
func (a *app) begin(ctx context.Context, store *fleet.Store, client *tokenpatch.Client, file *changefile.File, before *started) (isNew, proceed bool, err error) {
	if err := before.check(ctx, a, store); err != nil {
		return false, false, err
	}
	t, err := a.findTarget(ctx, store, file)
	if err != nil {
		return false, false, err
	}
	a.runName = t.name
	isFinished := t.known && t.progress.Pending == 0
	switch {
	case isFinished && a.again:
		proceed, err = a.checkAgain(ctx, store)
		return false, proceed, err
	case isFinished:
		return false, false, a.finished(ctx, store, t)
	case t.known:
		fmt.Fprintf(a.stderr, "%s: resuming, %d of %d changes are decided\n", printable(t.name), t.progress.Total()-t.progress.Pending, t.progress.Total())
		return false, true, nil
	}
	fmt.Fprintf(a.stderr, "%s: %s (sha256 %s)\n", printable(file.Name), rowsText(file), file.Digest)
	if t.instead != "" {
		fmt.Fprintf(a.stderr, "run %s is finished and has other changes: this run is %s\n", printable(t.instead), printable(t.name))
	}
	if err := a.confirm(ctx, client, file); err != nil {
		return false, false, err
	}
	return !t.exists, true, a.create(ctx, store, file, t)
}

// checkAgain makes the changes of a finished run pending again.
func (a *app) checkAgain(ctx context.Context, store *fleet.Store) (proceed bool, err error) {
	n, err := store.Again(ctx, a.runName)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, errors.New("there is nothing to check again: patches are for the tokens as they were; plan again")
	}
	fmt.Fprintf(a.stderr, "%s: checking %s again\n", printable(a.runName), count(n, "change"))
	return true, nil
}

// rowsText is how much is in a file.
func rowsText(file *changefile.File) string {
	if file.Rows == file.Changes {
		return count(file.Changes, "change")
	}
	return fmt.Sprintf("%s, and %s to skip", count(file.Changes, "change"), count(file.Rows-file.Changes, "row"))
}

// create adds the changes of a file to its run, and what else is kept of it.
func (a *app) create(ctx context.Context, store *fleet.Store, file *changefile.File, t target) error {
	if err := a.writeStarted(file, t); err != nil {
		return err
	}
	if err := keepNotes(ctx, store, t.name, file.Digest, file.All()); err != nil {
		return err
	}
	_, err := store.Add(ctx, t.name, file.Edits(), fleet.AddOptions{Digest: file.Digest, More: a.add})
	if errors.As(err, new(*fleet.OtherChangesError)) { // another process began at the same time
		return otherChanges(t.name, file.Name)
	}
	if err != nil {
		return err
	}
	return store.SetLabel(ctx, t.name, t.about.with(file).label())
}

// confirm refuses a plan of another account, and asks once, if there is somebody to ask.
func (a *app) confirm(ctx context.Context, client *tokenpatch.Client, file *changefile.File) error {
	question := "Apply " + count(file.Changes, "change")
	if file.V2 > 0 {
		caller := a.caller(ctx, client)
		if caller != nil && file.Plan != nil && file.Plan.Account != "" && file.Plan.Account != caller.AccountID {
			return fmt.Errorf("%s was planned in account %s, and the credential is of account %s: nothing was sent", file.Name, file.Plan.Account, caller.AccountID)
		}
		if caller != nil {
			question += fmt.Sprintf(" to account %s as %s", printable(caller.AccountID), printable(cmp.Or(caller.TokenName, caller.TokenID, "an OAuth token")))
		}
	}
	if !a.ask(ctx, question) {
		return errors.New("nothing was sent")
	}
	return nil
}

// ask asks a question, and reports whether the answer is yes. It is if nobody can answer.
func (a *app) ask(ctx context.Context, question string) bool {
	stdin, ok := a.stdin.(*os.File)
	if a.yes || !ok || !term.IsTerminal(int(stdin.Fd())) || a.terminal == nil || !term.IsTerminal(int(a.terminal.Fd())) {
		return true
	}
	fmt.Fprintf(a.stderr, "%s? [y/N] ", question)
	answers := make(chan string, 1)
	go func() {
		answer, _ := bufio.NewReader(stdin).ReadString('\n')
		answers <- answer
	}()
	select {
	case answer := <-answers:
		answer = strings.ToLower(strings.TrimSpace(answer))
		return answer == "y" || answer == "yes"
	case <-ctx.Done():
		return false
	}
}

// finished reports a finished run.
func (a *app) finished(ctx context.Context, store *fleet.Store, t target) error {
	fmt.Fprintf(a.stderr, "%s is finished since %s; -again checks each token, and changes what has drifted\n",
		printable(t.name), t.progress.Ended.Local().Format(time.DateTime))
	return a.summary(ctx, store)
}

// openNamed opens FILE, whose name is the run's unless -run gives one.
func (a *app) openNamed() (*changefile.File, error) {
	nameless := usageError{"what is read from a pipe has no name: want -run with one"}
	if a.args[0] == "-" && a.runName == "" {
		return nil, nameless // before it waits for somebody who types
	}
	file, err := changefile.Open(a.args[0], a.stdin)
	if err == nil && !file.HasName() && a.runName == "" {
		_ = file.Close()
		return nil, nameless
	}
	return file, err
}

// resume resumes a run whose file is not given.
func (a *app) resume(ctx context.Context) error {
	if a.runName == "" {
		return usageError{"want a FILE, or - for standard input, or -run to resume a run"}
	}
	store, err := a.openStore(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	config := a.config()
	p, err := store.Progress(ctx, a.runName)
	if err != nil {
		return err
	}
	var v1, v2 string
	if p.PendingV1 > 0 {
		v1 = fmt.Sprintf("run %q has changes of V1", a.runName)
	}
	if p.Pending > p.PendingV1 {
		v2 = fmt.Sprintf("run %q has changes of V2", a.runName)
	}
	if err := credentials(config, v1, v2); err != nil {
		return err
	}
	return a.work(ctx, store, config)
}

// account is the account whose rate limit all runs of one Postgres database share.
const account = "tokenpatch"

// work works on the run, and shows its progress.
func (a *app) work(ctx context.Context, store *fleet.Store, config tokenpatch.Config) error {
	if err := a.checkCaller(ctx, store, config); err != nil {
		return err
	}
	seen := newTraffic()
	config.Hooks = seen.hooks()
	config.V2.Share = float64(a.share)
	if isPostgres(a.db) { // other machines may work on this run, and on others
		config.Budget, config.V1.Account, config.V2.Account = store, account, account
	}
	w := &watcher{store: store, run: a.runName, traffic: seen}
	if a.http != "" {
		server, err := a.serve(ctx, w)
		if err != nil {
			return err
		}
		defer server.Close()
		defer a.keepPage(ctx, server)
	}
	options, err := a.telemetry.Run(fleet.Options{
		Client: config, Workers: a.workers, StopAfter: float64(a.stopAfter), ServiceTime: a.timeout, Logger: a.logger(),
	})
	if err != nil {
		return err
	}
	w.view = a.progressView()
	done := w.watch(ctx)
	a.inFlight.Store(true)
	err = store.Run(ctx, a.runName, options)
	a.inFlight.Store(false)
	if err := errors.Join(unexpected(ctx, err), done()); err != nil {
		return err
	}
	return a.summary(ctx, store)
}

// serve has the run shown on a page.
func (a *app) serve(ctx context.Context, w *watcher) (server *page.Server, err error) {
	if w.earlier.Windows, w.earlier.Refused, err = keptRequests(ctx, w.store, w.run); err != nil {
		return nil, err
	}
	if server, err = page.Listen(ctx, a.http, a.runName); err != nil {
		return nil, fmt.Errorf("-http: %w", err)
	}
	w.pages = append(w.pages, server)
	fmt.Fprintf(a.stderr, "the page is at %s\n", server.URL)
	return server, nil
}

// keepPage keeps the page after the end of the run until an interrupt, if requested.
func (a *app) keepPage(ctx context.Context, server *page.Server) {
	if !a.httpKeep || ctx.Err() != nil {
		return
	}
	fmt.Fprintf(a.stderr, "the run is over; its page stays at %s until you press Ctrl-C\n", server.URL)
	<-ctx.Done()
}

// unexpected is the error of a run, but nil if it was interrupted, or stopped by itself, which the summary reports.
func unexpected(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) || errors.As(err, new(*fleet.StoppedError)) {
		return nil
	}
	return err
}

// summary prints the state of the run and what to do next, and returns the exit status by it.
func (a *app) summary(ctx context.Context, store *fleet.Store) error {
	asking, cancel := ending(ctx)
	defer cancel()
	p, err := store.Progress(asking, a.runName)
	if err != nil {
		return err
	}
	writeProgress(a.stdout, p)
	if p.NotApplied+p.Unknown > 0 {
		fmt.Fprintf(a.stdout, "next: %s, for the reasons and what to do\n", a.next("report", "-run", p.Run))
	}
	switch {
	case p.Pending > 0 && p.Stopped != "" && p.NotApplied > 0:
		fmt.Fprintf(a.stdout, "next: %s && %s, to resume with what was refused\n", a.next("retry", "-run", p.Run), a.next("apply", "-run", p.Run))
	case p.Pending > 0:
		fmt.Fprintf(a.stdout, "next: %s, to resume\n", a.next("apply", "-run", p.Run))
	}
	if p.Pending > 0 && errors.Is(context.Cause(ctx), errInterrupted) {
		return exitStatus(exitInterrupted)
	}
	return exitOf(p)
}
