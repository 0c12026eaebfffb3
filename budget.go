package tokenpatch

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// Budget is a store in which programs share the rate limit of an account: see [Config.Budget]. The
// module tokenpatchredis has one on Redis.
//
// The stored state is a few hundred bytes: the current window of each limit, what is left of it,
// and how many programs asked. It has no credential, only 64 bits of a hash. For a service without
// rate limit headers there is nothing to share. Retry-After is not shared either, because it
// applies to an IP address.
//
// A store that is slow or fails never makes a call fail. After a second at most (three for the
// first update) the client continues alone, and asks the store again every few seconds. An
// impossible state or clock is replaced, or ignored for ten seconds, with a warning to the Logger.
type Budget interface {
	// Update atomically replaces the state under key by the result of f. It may call f more than
	// once, with an empty state if there is none. now is the store's own clock, read in the same
	// round trip. The store may forget the state if nothing has replaced it for ttl. If f fails,
	// Update leaves the state unchanged and returns the error. Many goroutines call Update at once.
	Update(ctx context.Context, key string, f func(state []byte, now time.Time) (next []byte, ttl time.Duration, err error)) error
}

// limit gives a service its rate limiter.
func (s *service) limit(config Config, account string, share float64) error {
	options := ratelimit.Options{MaxWait: s.engine.Policy.MaxRateLimitWait, Share: share}
	if !(share >= 0 && share <= 1) {
		return &InputError{Field: "Config." + s.api + ".Share", Value: fmt.Sprint(share), Want: "a fraction up to 1, or 0 for all"}
	}
	if config.Budget != nil && s.engine.Credential != nil {
		if account == "" {
			return &InputError{Field: "Config." + s.api + ".Account", Value: "not set", Want: "a name for the account whose budget is shared through Config.Budget"}
		}
		options.Store, options.Key, options.Account = config.Budget, budgetKey(s.base, account), account
		if log := config.Logger; log != nil {
			options.Warn = func(message string, err error) {
				defer func() { _ = recover() }() // no call is in this goroutine: a panic of the logger would end the process
				log.LogAttrs(context.Background(), slog.LevelWarn, message, slog.Any("error", err))
			}
		}
	}
	s.engine.Limiter = ratelimit.New(options)
	return nil
}

// budgetKey is the key of an account's budget: the service's origin, the
// account, and the version of the format.
func budgetKey(base *url.URL, account string) string {
	origin := url.URL{Scheme: base.Scheme, Host: base.Host}
	return fmt.Sprintf("tokenpatch/ratelimit/%d/%s/%s", ratelimit.Version, origin.String(), url.QueryEscape(account))
}
