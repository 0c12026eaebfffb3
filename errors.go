package tokenpatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

// Outcome answers the first question after a call that changes something:
// what happened to my token?
type Outcome int

// The three outcomes. The zero value is the one that promises nothing.
const (
	OutcomeUnknown    Outcome = iota // it was sent, and no answer settles what became of it
	OutcomeApplied                   // the server accepted the change
	OutcomeNotApplied                // refused by the server, or never sent
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

// OutcomeOf tells what became of the change whose call returned err. It is
// right for nil, for every error that this package returns and for whatever
// wraps one of them; an error from elsewhere is OutcomeUnknown.
func OutcomeOf(err error) Outcome {
	if err == nil {
		return OutcomeApplied
	}
	var told interface{ outcome() Outcome }
	if errors.As(err, &told) {
		return told.outcome()
	}
	return OutcomeUnknown
}

// APIError is an answer that is not the success its endpoint documents. Every
// type below that is named after a status is also an *APIError to [errors.As];
// a status without a type of its own is an *APIError itself. It holds no
// request, no header and no credential.
type APIError struct {
	StatusCode int    // of the answer; 429 also where the rate gate refused before anything was sent
	Code       string // the API's code; where the answer has none, the status's name in the same form: "not_found"
	Message    string // the API's message; where the answer has none, what there was instead
	ID         string // what the provider's support asks for; empty where the answer has none
	Method     string // of the request: "PATCH"
	Path       string // of the request, escaped
	Attempts   int    // how many attempts were sent
	Body       []byte // the answer's body, cut at 4 KiB and without the credential; nil for a 2xx, which may hold a token's value
	Err        error  // why the answer could not be read, or why the call ended before its retries did; nil where neither
}

func (e *APIError) Error() string {
	return fmt.Sprintf("tokenpatch: %s %s: %s", e.Method, e.Path, e.reason())
}

// reason is the text without the request that it is about.
func (e *APIError) reason() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: %s", e.StatusCode, oneLine(e.Code), oneLine(e.Message))
	if e.ID != "" {
		fmt.Fprintf(&b, " (id %s)", oneLine(e.ID))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %s", oneLine(e.Err.Error()))
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " (after %d attempts)", e.Attempts)
	}
	return b.String()
}

// oneLine is a text from the network as part of an error's: bounded, and unable
// to pass for a line of its own in a log.
func oneLine(text string) string {
	text = shorten(text, maxErrorText)
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
}

// As lets [errors.As] find the *APIError in every type that embeds one.
func (e *APIError) As(target any) bool {
	if t, ok := target.(**APIError); ok {
		*t = e
		return true
	}
	return false
}

// Unwrap returns Err.
func (e *APIError) Unwrap() error { return e.Err }

func (e *APIError) outcome() Outcome { return statusOutcome(e.StatusCode) }

// The errors of the documented statuses, for both APIs.
type (
	// InvalidRequestError is status 400: the request could not be understood.
	InvalidRequestError struct{ APIError }

	// UnauthorizedError is status 401: the credential is missing or wrong. V2
	// answers it as well where the credential may not make this call.
	UnauthorizedError struct{ APIError }

	// ForbiddenError is status 403: the credential may not do this.
	ForbiddenError struct{ APIError }

	// NotFoundError is status 404: there is no such token.
	NotFoundError struct{ APIError }

	// ConflictError is status 409. On V1 the resource already exists; on V2
	// another request was changing the token, and the call was tried again a
	// few times before it gave up.
	ConflictError struct{ APIError }

	// ValidationError is status 422 of V1: FastAPI's HTTPValidationError.
	ValidationError struct {
		APIError
		Details []ValidationDetail // the first 100; empty where the answer gave only a text
	}

	// PatchFailedError is status 422 of V2: the patch could not be understood
	// or applied, a test operation that failed included.
	PatchFailedError struct{ APIError }

	// RateLimitedError is status 429, after as much waiting as the context and
	// [RetryPolicy] allow. It is also returned at once, with no attempt sent,
	// where the rate limit cannot open before the context ends.
	RateLimitedError struct {
		APIError
		RetryAfter time.Duration // how long from now the limit stays shut; zero where nothing was said
		Reset      time.Time     // when the window ends, by this machine's clock; zero where nothing was said
		Global     Field[int]    // what remains for the whole account in this window; absent where not known
		Route      Field[int]    // what remains for this route in this window; absent where not known
	}

	// ServerError is a status from 500 to 599. Nothing is known of what the
	// server did first: its outcome is [OutcomeUnknown].
	ServerError struct{ APIError }
)

// ValidationDetail is one item of V1's HTTPValidationError.
type ValidationDetail struct {
	Loc   []any           // where: strings and ints, such as "body", "name" or "body", "roles", 0
	Msg   string          // what is wrong, for people
	Type  string          // what is wrong, for programs: "string_type"
	Input json.RawMessage // the value in question; nil where the answer has none
	Ctx   json.RawMessage // more about the rule that was broken, an object; nil where the answer has none
}

// UnmarshalJSON reads an item whose Loc mixes strings and integers.
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
		var index int
		var name string
		if err := json.Unmarshal(raw, &index); err == nil {
			d.Loc = append(d.Loc, index)
		} else if err := json.Unmarshal(raw, &name); err == nil {
			d.Loc = append(d.Loc, name)
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

// OutcomeUnknownError is the error of a call that was sent and that no answer
// settled: a connection that broke, an attempt that timed out, a 5xx, or any
// refusal that came after one of those. It wraps what the last attempt met, so
// that [errors.As] still finds it.
type OutcomeUnknownError struct {
	Method   string // of the request: "PATCH"
	Path     string // of the request, escaped
	Attempts int    // how many attempts were sent
	Err      error  // what the last attempt met
	hint     string // what it probably was; empty where nothing speaks for either
}

func (e *OutcomeUnknownError) Error() string {
	return fmt.Sprintf("tokenpatch: %s %s: not known whether the change was applied, after %s%s: %s",
		e.Method, e.Path, attempts(e.Attempts), e.hint, reason(e.Err))
}

// Unwrap returns what the last attempt met.
func (e *OutcomeUnknownError) Unwrap() error { return e.Err }

func (e *OutcomeUnknownError) outcome() Outcome { return OutcomeUnknown }

// NotSentError is the error of a call of which nothing reached a server: no
// connection could be made, or the context ended while the call was waiting.
type NotSentError struct {
	Method   string // of the request: "PATCH"
	Path     string // of the request, escaped
	Attempts int    // how many attempts were made at sending it; 0 where it ended before the first
	Err      error  // why
}

func (e *NotSentError) Error() string {
	return fmt.Sprintf("tokenpatch: %s %s: nothing was applied, after %s: %s",
		e.Method, e.Path, attempts(e.Attempts), reason(e.Err))
}

// Unwrap returns why nothing was sent.
func (e *NotSentError) Unwrap() error { return e.Err }

func (e *NotSentError) outcome() Outcome { return OutcomeNotApplied }

// InputError is the error for a value that can be seen to be wrong before
// anything is sent: a setting of [Config], an id, a field of a [TokenUpdate].
type InputError struct {
	Field string // what was wrong, as the caller spells it: "Config.V2.BaseURL", "id"
	Value string // the value in question, shortened; empty where it may hold a credential
	Want  string // what would have been right: "a UUID other than the nil UUID"
}

func (e *InputError) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("tokenpatch: %s: want %s", e.Field, e.Want)
	}
	return fmt.Sprintf("tokenpatch: %s: %s: want %s", e.Field, e.Value, e.Want)
}

func (e *InputError) outcome() Outcome { return OutcomeNotApplied }

// PatchError is the error of one operation of a [Patch]: it could not be
// built, decoded or applied.
type PatchError struct {
	Index int     // position of the operation in its patch, from 0; -1 where the error is the patch's own
	Op    string  // the operation: "add", "remove", "replace", "move", "copy" or "test"
	Path  Pointer // the location it works on, RFC 6902 section 4
	Err   error   // why
}

func (e *PatchError) Error() string {
	if e.Index < 0 {
		return fmt.Sprintf("tokenpatch: patch: %v", e.Err)
	}
	return fmt.Sprintf("tokenpatch: patch: operation %d: %s %q: %v", e.Index, e.Op, string(e.Path), e.Err)
}

// Unwrap returns the cause.
func (e *PatchError) Unwrap() error { return e.Err }

func (e *PatchError) outcome() Outcome { return OutcomeNotApplied }

// reason is an error's text, without the request where that was named already.
func reason(err error) string {
	var api *APIError
	if errors.As(err, &api) && api.Error() == err.Error() {
		return api.reason()
	}
	return oneLine(fmt.Sprint(err)) // nil in an error that was not made here
}

func attempts(n int) string {
	if n == 1 {
		return "1 attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

const (
	maxErrorBody = 4 << 10 // bytes of an answer that an APIError keeps
	maxErrorText = 1 << 10 // bytes of each of its parts that an APIError's text has
	maxDetails   = 100     // items of a list of what is wrong that a ValidationError keeps
)

// answerError maps an answer that refuses to the type of its status. The V2
// schemas name code and message, FastAPI a detail that is a text or a list;
// whatever else stands there, the type is still the status's own.
func (s *service) answerError(base APIError, a *attempt) error {
	var wire struct {
		Code, Message, ID string
		Detail            json.RawMessage
	}
	// A member of another type fails alone: the others are still read.
	_ = json.Unmarshal(a.body, &wire)
	var detail string
	_ = json.Unmarshal(wire.Detail, &detail)
	details := decodeDetails(wire.Detail)

	base.Code = cmp.Or(wire.Code, statusName(base.StatusCode))
	base.Message = cmp.Or(describeRedirect(a), wire.Message, detail, describeDetails(details), describeBody(a))
	base.ID = wire.ID
	if !isSuccess(a.status) {
		base.Body = bytes.Clone(a.body[:min(len(a.body), maxErrorBody)])
	}

	switch code := base.StatusCode; {
	case code == http.StatusBadRequest:
		return &InvalidRequestError{base}
	case code == http.StatusUnauthorized:
		return &UnauthorizedError{base}
	case code == http.StatusForbidden:
		return &ForbiddenError{base}
	case code == http.StatusNotFound:
		return &NotFoundError{base}
	case code == http.StatusConflict:
		return &ConflictError{base}
	case code == http.StatusUnprocessableEntity:
		return s.unprocessable(base, details)
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

// decodeDetails reads FastAPI's list of what is wrong. It is nil where detail
// is something else, or has an item that is.
func decodeDetails(detail json.RawMessage) []ValidationDetail {
	if len(detail) == 0 || detail[0] != '[' {
		return nil
	}
	var details []ValidationDetail
	for item := range rawjson.Elements(detail) {
		var d ValidationDetail
		if json.Unmarshal(item, &d) != nil {
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

// describeRedirect names where an answer points, by its host alone: the rest
// of a location can carry anything.
func describeRedirect(a *attempt) string {
	if a.status < 300 || a.status > 399 {
		return ""
	}
	target, err := url.Parse(a.location)
	switch {
	case err != nil || a.location == "":
		return "a redirect to nowhere that can be read, not followed"
	case target.Host == "":
		return "a redirect within the same host, not followed"
	default:
		return fmt.Sprintf("a redirect to %.255s, not followed", target.Host)
	}
}

// describeBody stands in for a message where an answer has none.
func describeBody(a *attempt) string {
	switch {
	case len(a.body) == 0:
		return "an answer without a body"
	case isSuccess(a.status): // it may hold a token's value
		return "an answer that is not shown"
	}
	return fmt.Sprintf("an answer of another shape (%.80s): %.200q", cmp.Or(a.contentType, "no content type"), a.body)
}

// errNotMade is what a zero or nil client answers.
var errNotMade = &InputError{Field: "Client", Value: "zero", Want: "one that NewClient made"}

func errUnexpectedStatus(want int) error {
	return fmt.Errorf("the API documents %d for a success", want)
}
