package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

// whoami prints whose credentials the environment has, and what is known of the rate limit.
func whoami(ctx context.Context, a *app) error {
	config := a.config()
	if config.V1.APIKey == "" && config.V2.AccessToken == "" {
		return fmt.Errorf("want LAUNCHDARKLY_ACCESS_TOKEN or DEEPSET_API_KEY in the environment")
	}
	client, err := a.client(config)
	if err != nil {
		return err
	}
	if config.V1.APIKey != "" {
		fmt.Fprintf(a.stdout, "V1: %s\n", expiry(config.V1.APIKey))
	}
	if config.V2.AccessToken == "" {
		return nil
	}
	identity, err := client.V2.Identity(ctx)
	if err != nil {
		return err
	}
	writeCaller(a.stdout, identity)
	kind := "a personal token of member " + identity.MemberID
	if identity.ServiceToken {
		kind = "a service token"
	}
	fmt.Fprintln(a.stdout, printable(kind))
	if len(identity.Scopes) > 0 {
		fmt.Fprintf(a.stdout, "scopes %s\n", printable(strings.Join(identity.Scopes, ", ")))
	}
	writeRateLimit(a.stdout, client.V2.RateLimit())
	return nil
}

// expiry is when a key of V1 expires, which stands in the key. The API cannot be asked whose it is.
func expiry(key tokenpatch.Secret) string {
	at, known := key.Expires()
	switch {
	case !known:
		return "the key names no expiry"
	case at.Before(time.Now()):
		return "the key expired at " + at.Format(time.RFC3339)
	}
	return "the key expires at " + at.Format(time.RFC3339)
}

// writeCaller writes whose credential it is.
func writeCaller(w io.Writer, i *tokenpatch.Identity) {
	credential := cmp.Or(i.TokenID, "an OAuth token")
	if i.TokenName != "" {
		credential = fmt.Sprintf("%s (%s)", i.TokenName, credential)
	}
	fmt.Fprintf(w, "account %s\ncredential %s\n", printable(i.AccountID), printable(credential))
}

func writeRateLimit(w io.Writer, limit tokenpatch.RateLimit) {
	line := func(name string, q tokenpatch.Quota) {
		if q.Remaining.IsSet() {
			fmt.Fprintf(w, "rate limit of %s: %v\n", name, q)
		}
	}
	line("the account", limit.Global)
	line("the credential", limit.Credential)
	for _, route := range slices.Sorted(maps.Keys(limit.Routes)) {
		line(route, limit.Routes[route])
	}
}

// caller prints whose credential of V2 a command uses. If it cannot be read, it prints so and
// returns nil: the credential may be good for everything else.
func (a *app) caller(ctx context.Context, client *tokenpatch.Client) *tokenpatch.Identity {
	if a.identified {
		return a.identity
	}
	a.identified = true
	ctx, cancel := context.WithTimeout(ctx, max(a.timeout, 30*time.Second)) // a rate limit may have to open first
	defer cancel()
	identity, err := client.V2.Identity(ctx)
	if err != nil {
		fmt.Fprintf(a.stderr, "whose credential this is could not be read, so the account is not checked: %s\n", printable(err.Error()))
		return nil
	}
	writeCaller(a.stderr, identity)
	a.identity = identity
	return identity
}

// self is the command's own token, which must not be changed; empty if it may be, or is not known.
func (a *app) self() string {
	if a.allowSelf || a.identity == nil {
		return ""
	}
	return a.identity.TokenID
}

const whySelf = "this is the token that tokenpatch runs with: want -allow-self to change it"

// checkCaller prints whose credential a run with changes of V2 uses. It refuses another account
// than the run's, and a change of the credential itself.
func (a *app) checkCaller(ctx context.Context, store *fleet.Store, config tokenpatch.Config) error {
	progress, err := store.Progress(ctx, a.runName)
	if err != nil || progress.Pending == progress.PendingV1 {
		return err
	}
	client, err := a.client(config)
	if err != nil {
		return err
	}
	caller := a.caller(ctx, client)
	if caller == nil {
		return ctx.Err()
	}
	if err := keepAccount(ctx, store, a.runName, caller.AccountID); err != nil || a.self() == "" {
		return err
	}
	own, err := store.Result(ctx, a.runName, a.self())
	if err == nil && own != nil && own.State == fleet.StatePending && own.Change.Update == nil {
		err = fmt.Errorf("%s: %s; nothing was sent", printable(own.Change.ID), whySelf)
	}
	return err
}

// keepAccount keeps the account of a run, or returns an error if it has another one.
func keepAccount(ctx context.Context, store *fleet.Store, run, account string) error {
	return updateKept(ctx, store, run, func(k *kept) error {
		if k.Account != "" && k.Account != account {
			return fmt.Errorf("run %q is of account %s, and the credential is of account %s: want a credential of the former", run, printable(k.Account), printable(account))
		}
		k.Account = account
		return nil
	})
}
