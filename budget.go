package tokenpatch

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// Budget is a store in which programs share the rate budget of an account: see
// [Config.Budget]. The module tokenpatchredis has one on Redis.
//
// What is stored is a few hundred bytes: the current window of each limit, what is
// left of it, and how many programs asked for a part. Instead of a credential it
// holds the first 64 bits of the SHA-256 of a constant, the account and the
// credential. Nothing is shared of a service that sends no limit headers, and
// Retry-After is not shared either: it is about an address, not an account.
//
// A store that is slow or fails never makes a call fail: after a second at most the
// client goes on alone, by the headers, and asks the store again every few seconds.
// A state or a clock that cannot be right is replaced or left aside for ten seconds,
// with a warning to the Logger.
type Budget interface {
	// Update atomically replaces the state under key by what f returns. It may
	// call f more than once, with an empty state where there is none. now is the
	// store's own clock, read in the same round trip. The store may forget the
	// state when nothing has replaced it for ttl. An error of f leaves the state
	// as it was, and is returned. Many goroutines call Update at once.
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
