package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/tokenpatch/tokenpatch/fleet"
)

// isPostgres distinguishes a URL, always of Postgres, from a file.
func isPostgres(source string) bool { return strings.Contains(source, "://") }

// checkSource refuses an impossible database. A password has no place in a command line, which
// every user of the machine can read.
func checkSource(source string) error {
	if !isPostgres(source) {
		if strings.Contains(source, "host=") || strings.Contains(source, "password=") { // as psql takes it: not to be repeated
			return usageError{"-db: want a file, or a URL such as postgres://user@host/database, not a list of settings"}
		}
		return nil
	}
	u, err := url.Parse(source)
	if err != nil { // the error has the URL in it
		return usageError{"-db: want a file, or a URL such as postgres://user@host/database"}
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return usageError{fmt.Sprintf("-db %s://...: want a file, or a URL that begins with postgres://", u.Scheme)}
	}
	_, given := u.User.Password()
	for _, name := range []string{"password", "sslpassword"} {
		given = given || u.Query().Has(name)
	}
	if given {
		return usageError{"-db: the URL has a password: want it in PGPASSWORD, or in the file .pgpass"}
	}
	return nil
}

// checkAddress refuses an address open to other machines, unless this is asked for.
func checkAddress(address string, public bool) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return usageError{fmt.Sprintf("-http %q: want an address such as 127.0.0.1:8080", address)}
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() || public {
		return nil
	}
	return usageError{fmt.Sprintf("-http %q: want a loopback address such as 127.0.0.1:8080, or -http-public with it", address)}
}

// openStore opens an existing store, for changing tokens.
func (a *app) openStore(ctx context.Context) (*fleet.Store, error) { return a.openBy(ctx, fleet.Open) }

// readStore opens an existing store, and changes nothing in it.
func (a *app) readStore(ctx context.Context) (*fleet.Store, error) {
	return a.openBy(ctx, fleet.OpenReadOnly)
}

func (a *app) openBy(ctx context.Context, open func(context.Context, string) (*fleet.Store, error)) (*fleet.Store, error) {
	if !isPostgres(a.db) {
		if _, err := os.Stat(a.db); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no database %s here yet: tokenpatch apply makes it, and -db names another", a.db)
		}
	}
	return open(ctx, a.db)
}

// openRun opens an existing store, and finds the requested run in it.
func (a *app) openRun(ctx context.Context, open func(context.Context) (*fleet.Store, error)) (store *fleet.Store, run string, err error) {
	if store, err = open(ctx); err != nil {
		return nil, "", err
	}
	if run, err = a.theRun(ctx, store); err != nil {
		return nil, "", errors.Join(err, store.Close())
	}
	return store, run, nil
}

// theRun is the name of the requested run: that of -run or, without it, of the only run. A report, which changes
// nothing, is on the newest.
func (a *app) theRun(ctx context.Context, store *fleet.Store) (string, error) {
	if a.runName != "" {
		return a.runName, nil
	}
	runs, err := store.Runs(ctx)
	if err != nil {
		return "", err
	}
	switch len(runs) {
	case 0:
		return "", errors.New("there is no run in " + a.db)
	case 1:
		return runs[0].Run, nil
	}
	if a.newest {
		run := runs[len(runs)-1].Run
		fmt.Fprintf(a.stderr, "run %s, the newest; -run names another\n", printable(run))
		return run, nil
	}
	var names []string
	for _, run := range runs {
		names = append(names, run.Run)
	}
	return "", usageError{"want -run with one of " + strings.Join(names, ", ")}
}

// exitOf is the exit status for a run's results.
func exitOf(p fleet.Progress) error {
	switch {
	case p.Unknown > 0:
		return exitStatus(exitUnknown)
	case p.NotApplied+p.Pending > 0:
		return exitStatus(exitNotApplied)
	default:
		return nil
	}
}
