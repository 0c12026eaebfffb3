package tokenpatch

import (
	"context"
	"log/slog"
	"time"
)

// Hooks are called on what a call does while it lasts, so that a program can
// count and time it without wrapping anything. Each may be nil. They run in the
// goroutine of the call, at the same time for calls at the same time: a hook
// that blocks holds up its own call, for as long as it likes, and no other; one
// that panics panics out of its own call, whose token is then in an unknown
// state. The same goes for the logger. What they are told holds no credential
// and no token's value.
type Hooks struct {
	Attempt func(AttemptInfo) // after every attempt that was sent, or tried to be
	Wait    func(WaitInfo)    // after a wait for the rate gate and the attempt that it was for, and before a wait for another attempt
}

// AttemptInfo is one attempt, as it ended.
type AttemptInfo struct {
	Service  string        // "V1" or "V2"
	Method   string        // "PATCH"
	Path     string        // escaped
	Number   int           // of the attempt within its call, from 1
	Status   int           // of the answer; 0 where there was none
	Outcome  Outcome       // what this attempt alone says of the change
	Duration time.Duration // from its admission to the last byte of its answer
	Err      error         // why there was no answer, or why it could not be read whole; nil where it was
}

// WaitReason says what a call waited for.
type WaitReason string

// The reasons for waiting.
const (
	WaitRetryAfter WaitReason = "retry_after" // a pause that the server asked for, or a 429 that said nothing
	WaitRateLimit  WaitReason = "rate_limit"  // a window that is used up
	WaitProbe      WaitReason = "probe"       // the response to the one attempt that goes ahead
	WaitTurn       WaitReason = "turn"        // those who came before, in a window that is open
	WaitBackoff    WaitReason = "backoff"     // some time between two attempts
)

// WaitInfo is one wait of one call.
type WaitInfo struct {
	Service  string        // "V1" or "V2"
	Method   string        // "PATCH"
	Path     string        // escaped
	Reason   WaitReason    // what it waited for; of several reasons the one that comes first above
	Duration time.Duration // how long; of a wait for another attempt, how long it will be
}

// events passes what happens on to the caller's hooks and logger.
type events struct {
	hooks Hooks
	log   *slog.Logger // nil is silent
}

func (e events) attempt(ctx context.Context, info AttemptInfo) {
	if e.log != nil {
		level := slog.LevelDebug
		if info.Err != nil || info.Status >= 400 {
			level = slog.LevelWarn
		}
		e.log.LogAttrs(ctx, level, "tokenpatch: attempt",
			slog.String("service", info.Service), slog.String("method", info.Method), slog.String("path", info.Path),
			slog.Int("number", info.Number), slog.Int("status", info.Status), slog.String("outcome", info.Outcome.String()),
			slog.Duration("duration", info.Duration), slog.Any("error", info.Err))
	}
	if e.hooks.Attempt != nil {
		e.hooks.Attempt(info)
	}
}

func (e events) wait(ctx context.Context, info WaitInfo) {
	if e.log != nil {
		e.log.LogAttrs(ctx, slog.LevelDebug, "tokenpatch: wait",
			slog.String("service", info.Service), slog.String("method", info.Method), slog.String("path", info.Path),
			slog.String("reason", string(info.Reason)), slog.Duration("duration", info.Duration))
	}
	if e.hooks.Wait != nil {
		e.hooks.Wait(info)
	}
}
