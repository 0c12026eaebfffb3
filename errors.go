package tokenpatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
	"github.com/tokenpatch/tokenpatch/internal/redact"
	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// Outcome is whether a change was applied.
type Outcome int

// The three outcomes. The zero value promises nothing.
const (
	OutcomeUnknown    Outcome = iota // the request may have reached the server, and no response shows the outcome
	OutcomeApplied                   // the server accepted the change
	OutcomeNotApplied                // the server refused the change, or the request was not sent
)

// String returns "applied", "not applied" or "unknown".
func (o Outcome) String() string {
	switch o {
	case OutcomeApplied:
		return "applied"
	case OutcomeNotApplied:
		return "not applied"
	default:
		return "unknown"
	}
}

// MarshalText returns "applied", "not_applied" or "unknown".
func (o Outcome) MarshalText() ([]byte, error) {
	return []byte(strings.ReplaceAll(o.String(), " ", "_")), nil
}

// UnmarshalText reads what [Outcome.MarshalText] writes. Any other text is an
// error.
func (o *Outcome) UnmarshalText(text []byte) error {
	for _, outcome := range []Outcome{OutcomeUnknown, OutcomeApplied, OutcomeNotApplied} {
		if want, _ := outcome.MarshalText(); bytes.Equal(text, want) {
			*o = outcome
			return nil
		}
	}
	return &InputError{Field: "outcome", Value: strconv.Quote(shorten.Text(string(text), 64)), Want: "applied, not_applied or unknown"}
}

// OutcomeOf returns the outcome of the change whose call returned err: [OutcomeApplied] if err is
// nil. It is right for every error from a call of this package, wrapped or not. Any other error is
// [OutcomeUnknown]. A read changes nothing: the outcome of its error is [OutcomeNotApplied].
//
// In joined errors, those from other packages are ignored. If the rest differ, the outcome is
// [OutcomeUnknown].
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OutcomeApplied
	}
	outcome, _ := findOutcome(err)
	return outcome
}

// findOutcome returns the outcome of err, and whether it has one.
func findOutcome(err error) (outcome Outcome, found bool) {
	switch e := err.(type) { //nolint:errorlint // it walks through what is wrapped itself, joined errors too
	case interface{ outcome() Outcome }:
		return e.outcome(), true
	case interface{ Unwrap() error }:
		return findOutcome(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			one, has := findOutcome(err)
			if has && found && one != outcome {
				return OutcomeUnknown, true
			}
			if has {
				outcome, found = one, true
			}
		}
	}
	return outcome, found
}

// APIError is the error for any response other than the documented success. The types named after a
// status, such as [NotFoundError], embed it, so [errors.As] finds an *APIError in each of them. For
// other statuses the error is an *APIError itself. It holds no request, no header and no
// credential.
type APIError struct {
	CallInfo
	StatusCode int    // of the response; 429 also if the rate limit kept the request from being sent
	Code       string // the API's code; if the response has none, the status's name in the same form: "not_found"
	Message    string // the API's message, the first 1 KiB; if the response has none, a description of the response
	SupportID  string // identifies the error for the provider's support; empty if the response has none
	Attempts   int    // how many attempts were made
	Body       []byte // the response's body, the first 4 KiB, with credentials redacted; nil for a 2xx, which may hold a token's value
	Err        error  // why the response could not be read, or why there was no further attempt; else nil
}

func (e *APIError) Error() string { return errorText(e.CallInfo, e.reason(), e.Attempts) }

// reason is the text without the request.
func (e *APIError) reason() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s", e.StatusCode, oneLine(cmp.Or(e.Code, statusName(e.StatusCode))))
	if e.Message != "" {
		fmt.Fprintf(&b, ": %s", oneLine(e.Message))
	}
	if e.SupportID != "" {
		fmt.Fprintf(&b, " (support id %s)", oneLine(e.SupportID))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %s", oneLine(e.Err.Error()))
	}
	return b.String()
}

// errorText is the text of an error of a call: what was asked, what happened, and after how many attempts if there was more
// than one.
func errorText(call CallInfo, what string, attempts int) string {
	if call != (CallInfo{}) {
		what = fmt.Sprintf("%s %s: %s", call.Method, call.target(), what)
	}
	if attempts > 1 {
		what += fmt.Sprintf(" (%d attempts)", attempts)
	}
	return "tokenpatch: " + what
}

// oneLine is a text from the network as part of an error's: bounded, and unable
// to pass for a line of its own in a log.
func oneLine(text string) string {
	text = shorten.Text(text, maxErrorText)
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}

// As lets [errors.As] find the *APIError in every type with one embedded.
func (e *APIError) As(target any) bool {
	if t, ok := target.(**APIError); ok {
		*t = e
		return true
	}
	return false
}

// Unwrap returns Err.
func (e *APIError) Unwrap() error { return e.Err }

// outcome is what the status alone proves. If the call knows more, it returns an
// [*OutcomeUnknownError] around e.
func (e *APIError) outcome() Outcome {
	if e.Method == http.MethodGet {
		return OutcomeNotApplied
	}
	switch e.StatusCode {
	case http.StatusOK, http.StatusCreated, http.StatusNoContent:
		return OutcomeApplied
	default:
		return Outcome(engine.StatusEffect(e.StatusCode))
	}
}

// The errors of the documented statuses, for both APIs.
type (
	// InvalidRequestError is status 400: the request could not be understood.
	InvalidRequestError struct{ APIError }

	// UnauthorizedError is status 401: the credential is missing or wrong. V2 also uses it for a
	// credential without the right to make this call.
	UnauthorizedError struct{ APIError }

	// ForbiddenError is status 403: the credential may not do this.
	ForbiddenError struct{ APIError }

	// NotFoundError is status 404: there is no such token.
	NotFoundError struct{ APIError }

	// ConflictError is status 409. On V1 a resource already exists; on V2 another
	// request was changing the token during each attempt.
	ConflictError struct{ APIError }

	// ValidationError is status 422 of V1: FastAPI's HTTPValidationError.
	ValidationError struct {
		APIError
		Details []ValidationDetail // the first 100; empty if the response has only a text
	}

	// PatchFailedError is status 422 of V2: the patch could not be understood or
	// applied. V2 does not say which.
	PatchFailedError struct {
		APIError

		// Guarded is whether the patch has a test operation. If it is true, a test may have failed:
		// read the token and use [Patch.Apply] to find the operation. If it is false, the patch is
		// wrong for this token and fails again.
		Guarded bool
	}

	// RateLimitedError is status 429, after as much waiting as the context and [RetryPolicy] allow.
	// It is also returned at once, without an attempt, if the limit opens after the context ends,
	// or later than [RetryPolicy.MaxRateLimitWait].
	RateLimitedError struct {
		APIError
		RetryAfter time.Duration // how long the limit stays closed after the end of the call; zero if unknown
		RateLimit  RateLimit     // as it was known when the call ended
	}

	// ServerError is a status from 500 to 599. It does not say what the server did
	// before it failed: the outcome of a change is [OutcomeUnknown].
	ServerError struct{ APIError }
)

// An error made by a program itself, as in its tests, needs no StatusCode: its type has one.

func (e *InvalidRequestError) Error() string { return e.or(http.StatusBadRequest).Error() }
func (e *UnauthorizedError) Error() string   { return e.or(http.StatusUnauthorized).Error() }
func (e *ForbiddenError) Error() string      { return e.or(http.StatusForbidden).Error() }
func (e *NotFoundError) Error() string       { return e.or(http.StatusNotFound).Error() }
func (e *ConflictError) Error() string       { return e.or(http.StatusConflict).Error() }
func (e *ValidationError) Error() string     { return e.or(http.StatusUnprocessableEntity).Error() }
func (e *PatchFailedError) Error() string    { return e.or(http.StatusUnprocessableEntity).Error() }
func (e *RateLimitedError) Error() string    { return e.or(http.StatusTooManyRequests).Error() }
func (e *ServerError) Error() string         { return e.or(http.StatusInternalServerError).Error() }

func (e *InvalidRequestError) outcome() Outcome { return e.or(http.StatusBadRequest).outcome() }
func (e *UnauthorizedError) outcome() Outcome   { return e.or(http.StatusUnauthorized).outcome() }
func (e *ForbiddenError) outcome() Outcome      { return e.or(http.StatusForbidden).outcome() }
func (e *NotFoundError) outcome() Outcome       { return e.or(http.StatusNotFound).outcome() }
func (e *ConflictError) outcome() Outcome       { return e.or(http.StatusConflict).outcome() }
func (e *ValidationError) outcome() Outcome     { return e.or(http.StatusUnprocessableEntity).outcome() }
func (e *PatchFailedError) outcome() Outcome    { return e.or(http.StatusUnprocessableEntity).outcome() }
func (e *RateLimitedError) outcome() Outcome    { return e.or(http.StatusTooManyRequests).outcome() }
func (e *ServerError) outcome() Outcome         { return e.or(http.StatusInternalServerError).outcome() }

// or returns e with a status, if it has none.
func (e *APIError) or(status int) *APIError {
	if e.StatusCode != 0 {
		return e
	}
	own := *e
	own.StatusCode = status
	return &own
}

// LogValue groups what the error has for [log/slog].
func (e *APIError) LogValue() slog.Value { return logValue(e, e.CallInfo, e.Attempts) }

// LogValue groups what the error has for [log/slog].
func (e *OutcomeUnknownError) LogValue() slog.Value { return logValue(e, e.CallInfo, e.Attempts) }

// LogValue groups what the error has for [log/slog].
func (e *NotSentError) LogValue() slog.Value { return logValue(e, e.CallInfo, e.Attempts) }

// LogValue groups what the error has for [log/slog].
func (e *ReadError) LogValue() slog.Value { return logValue(e, e.CallInfo, e.Attempts) }

// LogValue groups what the error has for [log/slog].
func (e *EditConflictError) LogValue() slog.Value { return logValue(e, e.CallInfo, 0) }

// MarshalJSON writes what LogValue groups as an object.
func (e *APIError) MarshalJSON() ([]byte, error) { return marshalGroup(e.LogValue()) }

// MarshalJSON writes what LogValue groups as an object.
func (e *OutcomeUnknownError) MarshalJSON() ([]byte, error) { return marshalGroup(e.LogValue()) }

// MarshalJSON writes what LogValue groups as an object.
func (e *NotSentError) MarshalJSON() ([]byte, error) { return marshalGroup(e.LogValue()) }

// MarshalJSON writes what LogValue groups as an object.
func (e *ReadError) MarshalJSON() ([]byte, error) { return marshalGroup(e.LogValue()) }

// MarshalJSON writes what LogValue groups as an object.
func (e *EditConflictError) MarshalJSON() ([]byte, error) { return marshalGroup(e.LogValue()) }

func logValue(err error, call CallInfo, attempts int) slog.Value {
	attrs := append([]slog.Attr{slog.String("error", err.Error())}, call.attrs()...)
	var api *APIError
	if errors.As(err, &api) {
		attrs = append(attrs, slog.Int("status", api.StatusCode), slog.String("code", api.Code), slog.String("support_id", api.SupportID))
	}
	if attempts > 0 {
		attrs = append(attrs, slog.Int("attempts", attempts))
	}
	return slog.GroupValue(append(attrs, slog.Any("outcome", OutcomeOf(err)))...)
}

func marshalGroup(group slog.Value) ([]byte, error) {
	members := make(map[string]any)
	for _, attr := range group.Group() {
		members[attr.Key] = attr.Value.Any()
	}
	return json.Marshal(members)
}

// ValidationDetail is one item of V1's HTTPValidationError, whose schema is
// ValidationError.
type ValidationDetail struct {
	Loc   []any           // the location: strings and ints, such as "body", "name" or "body", "roles", 0
	Msg   string          // what is wrong, for people
	Type  string          // what is wrong, for programs: "string_type"
	Input json.RawMessage // the wrong value; nil if the response has none
	Ctx   json.RawMessage // an object with more about the broken rule; nil if the response has none
}

// UnmarshalJSON replaces d by the item in data, whose loc mixes strings and integers.
func (d *ValidationDetail) UnmarshalJSON(data []byte) error {
	var wire struct {
		Loc       []json.RawMessage
		Msg, Type string
		Input     json.RawMessage
		Ctx       json.RawMessage
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return err
	}
	*d = ValidationDetail{Msg: wire.Msg, Type: wire.Type, Input: wire.Input, Ctx: wire.Ctx}
	for _, raw := range wire.Loc {
		var index *int // nil for null, which is neither
		var name *string
		if err := json.Unmarshal(raw, &index); err == nil && index != nil {
			d.Loc = append(d.Loc, *index)
		} else if err := json.Unmarshal(raw, &name); err == nil && name != nil {
			d.Loc = append(d.Loc, *name)
		} else {
			return fmt.Errorf("loc: %.40s: want strings and integers", raw)
		}
	}
	return nil
}

// String returns the location, joined by dots, and the message:
// "body.roles.0: Field required".
func (d ValidationDetail) String() string {
	if len(d.Loc) == 0 {
		return d.Msg
	}
	loc := make([]string, len(d.Loc))
	for i, at := range d.Loc {
		loc[i] = fmt.Sprint(at)
	}
	return strings.Join(loc, ".") + ": " + d.Msg
}

// OutcomeUnknownError is the error of a call whose request may have reached the server, without a
// response that shows the outcome. A connection broke, an attempt timed out, the server failed, or
// a refusal followed one of these. [errors.As] finds the error of the last attempt in it.
type OutcomeUnknownError struct {
	CallInfo
	Attempts int    // how many attempts were made
	Err      error  // the error of the last attempt
	hint     string // the probable outcome; empty if there is no sign of it
}

func (e *OutcomeUnknownError) Error() string {
	return errorText(e.CallInfo, "outcome unknown"+e.hint+": "+reason(e.Err), e.Attempts)
}

// Unwrap returns Err.
func (e *OutcomeUnknownError) Unwrap() error { return e.Err }

func (e *OutcomeUnknownError) outcome() Outcome { return OutcomeUnknown }

// NotSentError is the error of a call whose request did not reach a server. No connection could be
// made, the context ended while the call was waiting, or a function of the caller returned an
// error, such as [V1Config.APIKeyFunc]. For a transport other than [*http.Transport], nothing was
// sent if it failed without reading the request's body.
type NotSentError struct {
	CallInfo
	Attempts int   // how many attempts were made; 0 if the call ended before the first
	Err      error // why
}

func (e *NotSentError) Error() string {
	return errorText(e.CallInfo, "request not sent: "+reason(e.Err), e.Attempts)
}

// Unwrap returns Err.
func (e *NotSentError) Unwrap() error { return e.Err }

func (e *NotSentError) outcome() Outcome { return OutcomeNotApplied }

// ReadError is the error of a read without a response: it may not even have been sent. A read
// changes nothing: the outcome is [OutcomeNotApplied].
type ReadError struct {
	CallInfo
	Attempts int   // how many attempts were made; 0 if the call ended before the first
	Err      error // why
}

func (e *ReadError) Error() string {
	what := "no response: "
	if e.Attempts == 0 {
		what = "request not sent: "
	}
	return errorText(e.CallInfo, what+reason(e.Err), e.Attempts)
}

// Unwrap returns Err.
func (e *ReadError) Unwrap() error { return e.Err }

func (e *ReadError) outcome() Outcome { return OutcomeNotApplied }

// EditConflictError is the error of an edit that gave up because another writer was quicker each
// time. The edit was not applied.
type EditConflictError struct {
	CallInfo
	Conflicts int   // how many times another writer was quicker
	Err       error // the last refusal, a [*PatchFailedError]
}

func (e *EditConflictError) Error() string {
	return errorText(e.CallInfo, fmt.Sprintf("another writer changed the token before each of %d changes: %s", e.Conflicts, reason(e.Err)), 0)
}

// Unwrap returns Err.
func (e *EditConflictError) Unwrap() error { return e.Err }

func (e *EditConflictError) outcome() Outcome { return OutcomeNotApplied }

// InputError is the error for a wrong argument or setting: a field of [Config] or [TokenUpdate], an
// id, an option. Nothing was sent.
type InputError struct {
	Field string // what is wrong, as the caller spells it: "Config.V2.BaseURL", "id"
	Value string // its value or a description, shortened; empty if it may hold a credential
	Want  string // what would be right: "a UUID other than the nil UUID"
}

func (e *InputError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("tokenpatch: %s: want %s", e.Field, e.Want)
	}
	return fmt.Sprintf("tokenpatch: %s: %s: want %s", e.Field, e.Value, e.Want)
}

func (e *InputError) outcome() Outcome { return OutcomeNotApplied }

// PatchError is the error of a [Patch] or an operation that could not be built, decoded or applied.
type PatchError struct {
	Index int     // position of the operation in its patch, from 0; -1 for an error of the whole patch
	Op    string  // the operation: "add", "remove", "replace", "move", "copy" or "test"; empty if unknown
	Path  Pointer // its path, RFC 6902 section 4
	Err   error   // why
}

func (e *PatchError) Error() string {
	switch {
	case e.Index < 0:
		return fmt.Sprintf("tokenpatch: patch: %v", e.Err)
	case e.Op == "":
		return fmt.Sprintf("tokenpatch: patch: operation %d: %v", e.Index, e.Err)
	}
	return fmt.Sprintf("tokenpatch: patch: operation %d: %s %q: %v", e.Index, oneLine(shorten.Text(e.Op, 64)), shorten.Text(string(e.Path), 256), e.Err)
}

// Unwrap returns Err.
func (e *PatchError) Unwrap() error { return e.Err }

func (e *PatchError) outcome() Outcome { return OutcomeNotApplied }

// reason is an error's text, without the request if that was named already.
func reason(err error) string {
	var api *APIError
	if errors.As(err, &api) && api.Error() == err.Error() {
		return api.reason()
	}
	text := fmt.Sprint(err) // nil in an error from elsewhere
	return oneLine(strings.TrimPrefix(text, "tokenpatch: "))
}

const (
	maxErrorBody   = 4 << 10   // bytes of a response kept in an APIError
	maxErrorRead   = 256 << 10 // bytes of a response read for its code and message
	maxErrorHeader = 1 << 10   // bytes of each header
	maxErrorText   = 1 << 10   // bytes of each part of an error's text
	maxDetails     = 100       // items of a list kept in a ValidationError
)

const redacted = redact.Redacted

// refusal is the response behind an error. What is kept of it is cleaned first.
type refusal struct {
	status                int
	location, contentType string // cleaned
	body                  []byte // as it was received
	secrets               *redact.Secrets
}

func newRefusal(r *httpsend.Result, secrets *redact.Secrets) refusal {
	return refusal{
		status:      r.Status,
		location:    secrets.CleanPrefix(r.Header.Get("Location"), maxErrorHeader),
		contentType: secrets.CleanPrefix(r.Header.Get("Content-Type"), maxErrorHeader),
		body:        r.Body[:min(len(r.Body), maxErrorRead)],
		secrets:     secrets,
	}
}

// describe fills in code and message of the response. The schemas of V2 name them so; FastAPI has a
// detail, a text or a list.
func (e *APIError) describe(r refusal) (details []ValidationDetail) {
	var wire struct {
		Code, Message, ID string
		Detail            json.RawMessage
	}
	// A member of another type fails alone: the others are still read.
	_ = json.Unmarshal(r.body, &wire)
	var detail string
	_ = json.Unmarshal(wire.Detail, &detail)
	details = r.decodeDetails(wire.Detail)

	clean := func(text string) string { return r.secrets.CleanPrefix(text, maxErrorText) }
	body := r.secrets.CleanPrefix(string(r.body[:min(len(r.body), 2*maxErrorBody)]), maxErrorBody)
	e.StatusCode = r.status
	e.Code = cmp.Or(clean(wire.Code), statusName(r.status))
	e.Message = cmp.Or(describeRedirect(r), clean(wire.Message), clean(detail), describeDetails(details), describeBody(r, body))
	e.SupportID = clean(wire.ID)
	if !engine.IsSuccess(r.status) {
		e.Body = []byte(body)
	}
	return details
}

// responseError returns the error type for the status of an unsuccessful response.
func (s *service) responseError(base APIError, r refusal, guarded bool) error {
	details := base.describe(r)
	switch code := base.StatusCode; {
	case code == http.StatusBadRequest:
		return &InvalidRequestError{base}
	case code == http.StatusUnauthorized:
		base.Err = cmp.Or(base.Err, s.whyUnauthorized())
		return &UnauthorizedError{base}
	case code == http.StatusForbidden:
		return &ForbiddenError{base}
	case code == http.StatusNotFound:
		return &NotFoundError{base}
	case code == http.StatusConflict:
		return &ConflictError{base}
	case code == http.StatusUnprocessableEntity && s.api == "V1":
		return &ValidationError{base, details}
	case code == http.StatusUnprocessableEntity:
		return &PatchFailedError{base, guarded}
	case code == http.StatusTooManyRequests:
		return s.rateLimited(base)
	case code >= 500 && code <= 599:
		return &ServerError{base}
	default:
		return &base
	}
}

// statusName is the name of a status in the form of the APIs' codes.
func statusName(status int) string {
	name := cmp.Or(http.StatusText(status), fmt.Sprintf("status %d", status))
	return strings.ReplaceAll(strings.ToLower(name), " ", "_")
}

// decodeDetails reads FastAPI's list of mistakes. It returns nil if detail, or an item of it, is
// something else.
func (r refusal) decodeDetails(detail json.RawMessage) []ValidationDetail {
	if len(detail) == 0 || detail[0] != '[' {
		return nil
	}
	var details []ValidationDetail
	for item := range rawjson.Elements(detail) {
		var d ValidationDetail
		if json.Unmarshal([]byte(r.secrets.Clean(string(item))), &d) != nil {
			return nil
		}
		if details = append(details, d); len(details) == maxDetails {
			break
		}
	}
	return details
}

func describeDetails(details []ValidationDetail) string {
	lines := make([]string, len(details))
	for i, d := range details {
		lines[i] = d.String()
	}
	return strings.Join(lines, "; ")
}

// describeRedirect names the target of a redirect by its host alone: the rest of a location can
// carry anything.
func describeRedirect(r refusal) string {
	if r.status < 300 || r.status > 399 {
		return ""
	}
	target, err := url.Parse(r.location)
	switch {
	case err != nil || r.location == "":
		return "redirect without a valid location, not followed"
	case target.Host == "":
		return "redirect within the same host, not followed"
	default:
		return fmt.Sprintf("redirect to %.255s, not followed", target.Host)
	}
}

// describeBody stands in for a missing message.
func describeBody(r refusal, body string) string {
	switch {
	case body == "":
		return "response without a body"
	case engine.IsSuccess(r.status): // it may hold a token's value
		return "unexpected response"
	}
	return fmt.Sprintf("unexpected response (%.80s): %.200q", cmp.Or(r.contentType, "no content type"), body)
}

// errNotMade is the error of a call of a zero or nil client.
var errNotMade = &InputError{Field: "Client", Value: "zero", Want: "a client made by NewClient"}

func errUnexpectedStatus(want int) error {
	return fmt.Errorf("the API documents %d for a success", want)
}
