package engine

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// Effect is what an attempt did to what the request is about.
type Effect int

// The effects. The zero value promises nothing.
const (
	Unknown    Effect = iota // the server may have applied the request
	Applied                  // it applied the request
	NotApplied               // it did not
)

// next is what the end of an attempt means for another one.
type next int

const (
	never          next = iota
	withBackoff         // it was not applied, and may be next time
	ifReplayable        // if the request may be sent again although it may have been applied
	ifConflict          // if a conflict with another request is temporary in this API
	whenAdmitted        // as soon as the rate limit admits it
	withCredential      // if there is another credential
	onceForHost         // once for all calls: what is wrong with the host is unlikely to be transient
)

// classify returns what the end of an attempt proves, even if a proxy sent the response (RFC 9110,
// section 15). For a status 2xx it is the rule for an undocumented response.
func classify(r *httpsend.Result) (Effect, next) {
	switch {
	case r.Status != 0:
		return classifyStatus(r.Status)
	case !r.NotSent:
		return Unknown, ifReplayable
	case isHostWrong(r.Err):
		return NotApplied, onceForHost
	default:
		return NotApplied, withBackoff
	}
}

// classifyStatus is the part of classify about responses. An unregistered status proves nothing.
func classifyStatus(status int) (Effect, next) {
	switch status {
	case http.StatusTooManyRequests:
		return NotApplied, whenAdmitted
	case http.StatusConflict:
		return NotApplied, ifConflict
	case http.StatusUnauthorized:
		return NotApplied, withCredential
	case 307, 308, // they ask for the same request elsewhere
		400, 402, 403, 404, 405, 406, 407, 410, 411, 412, 413, 414, 415, 416, 417, 418, 421, 422, 423, 425, 426, 428, 431, 451:
		return NotApplied, never
	case 408, 500, 502, 503, 504,
		520, 521, 522, 523, 524, 525, 526, 527, 528, 529: // of proxies: the server is unreachable or its response invalid
		return Unknown, ifReplayable
	}
	if IsSuccess(status) {
		return Unknown, ifReplayable
	}
	return Unknown, never
}

// IsSuccess reports whether a status is of the class 2xx.
func IsSuccess(status int) bool { return status >= 200 && status <= 299 }

// StatusEffect returns what a response with this status alone proves.
func StatusEffect(status int) Effect {
	effect, _ := classifyStatus(status)
	return effect
}

// IsTransient reports whether a call with this status may soon succeed.
func IsTransient(status int) bool {
	_, next := classifyStatus(status)
	return next == ifReplayable || next == ifConflict
}

// isHostWrong reports whether an attempt ended, before there was a connection, because of what the host is: its name is
// unknown, or its certificate or its TLS does not match.
func isHostWrong(err error) bool {
	var name *net.DNSError
	if errors.As(err, &name) {
		return name.IsNotFound
	}
	return errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(tls.RecordHeaderError)) ||
		errors.As(err, new(tls.AlertError)) || errors.Is(err, http.ErrSchemeMismatch)
}

// Policy is how often and how soon a call is tried again.
type Policy struct {
	MaxAttempts            int // except refusals by the rate limit, and of a replaced credential
	MinBackoff, MaxBackoff time.Duration
	MaxRateLimitWait       time.Duration
}

// Backoff returns the pause before the next attempt after a number of failures, from 1. A random
// number in [0, 1) removes up to half of it, which keeps callers apart after a common failure.
func (p Policy) Backoff(failures int, random float64) time.Duration {
	pause := p.MaxBackoff
	if doublings := failures - 1; doublings < 30 && p.MinBackoff < p.MaxBackoff>>doublings {
		pause = p.MinBackoff << doublings
	}
	return pause - time.Duration(random*float64(pause/2))
}
