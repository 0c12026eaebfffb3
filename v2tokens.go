package tokenpatch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
	"github.com/tokenpatch/tokenpatch/internal/rawjson"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// V2Tokens are the access tokens of LaunchDarkly's API: [Client] has them as V2.
type V2Tokens struct {
	service           *service
	cannotTestVersion atomic.Bool // whether the service has refused a true test of /lastModified
}

var patchToken = newEndpoint(http.MethodPatch, "/api/v2/tokens/{id}")

func newV2Tokens(shared shared, config Config) (*V2Tokens, error) {
	if config.V2.APIVersion < 0 {
		return nil, &InputError{Field: "Config.V2.APIVersion", Value: strconv.Itoa(config.V2.APIVersion), Want: "a version such as 20240415, or 0 for that one"}
	}
	scheme := ""
	if config.V2.OAuth {
		scheme = "Bearer "
	}
	s, err := newService(shared, config, ownConfig{
		api: "V2", credential: "AccessToken", baseURL: cmp.Or(config.V2.BaseURL, V2BaseURL),
		fixed: config.V2.AccessToken, supply: config.V2.AccessTokenFunc, account: config.V2.Account, share: config.V2.Share,
		scheme: scheme, header: http.Header{"Ld-Api-Version": {strconv.Itoa(cmp.Or(config.V2.APIVersion, defaultAPIVersion))}},
		retryConflicts: true,
	})
	if err != nil {
		return nil, err
	}
	return &V2Tokens{service: s}, nil
}

// PatchToken changes the settings of a V2 token and returns the updated token: PATCH
// /api/v2/tokens/{id}. [OutcomeOf] the error is the outcome of the patch. If it is
// [OutcomeApplied], only the rest of the response could not be read.
//
// An id that [CheckTokenID] refuses, or with a part of a known credential, is an [*InputError]. So
// is a client without an access token. A patch with a mistake, or without operations, is a
// [*PatchError].
//
// After an attempt with an unknown outcome, the request is sent again only if [Patch.Replay] allows
// it. A response without the id proves nothing. PatchToken cannot see a gateway that sends a
// request twice; [V2Tokens.EditToken] can, because it reads the token after a 422.
func (t *V2Tokens) PatchToken(ctx context.Context, id string, patch *Patch) (*Token, error) {
	return t.patch(ctx, id, patch, patch.Replay(), 0)
}

// patch sends a patch. replay is whether it may be sent again. before is lastModified of the
// expected token, or 0.
func (t *V2Tokens) patch(ctx context.Context, id string, patch *Patch, replay Replay, before UnixMillis) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	if err := checkID(id, t.service.engine.Known.Secrets()); err != nil {
		return nil, err
	}
	body, err := patch.encode()
	if err != nil {
		return nil, err
	}
	result := patchedToken{oneToken: oneToken{id: id}, before: before}
	if replay == ReplayGuarded {
		result.guarded = patch.Clone() // what is added to patch meanwhile is not sent
	}
	err = t.service.send(ctx, request{
		endpoint: patchToken, token: id, body: body, result: &result,
		replay: replay, guarded: patch.hasTest(),
	})
	if err != nil {
		return nil, err
	}
	return result.token, nil
}

// RateLimit returns what is known now of V2's rate limit. It sends nothing.
func (t *V2Tokens) RateLimit() RateLimit {
	if t == nil || t.service == nil {
		return RateLimit{}
	}
	return t.service.rateLimit()
}

// oneToken decodes a status 200 with the requested token. Anything else may be a proxy's page, or
// the response to another request.
type oneToken struct {
	id    string // requested
	token *Token // made late: waiting calls hold little memory
}

func (t *oneToken) decode(r *httpsend.Result) error {
	t.token = new(Token)
	if err := decodeOK(r, t.token); err != nil {
		return err
	}
	switch {
	case t.token.ID == "":
		return errors.New("the response is not a token: it has no _id")
	case !isSameID(t.token.ID, t.id):
		return errors.New("the response is another token: its _id is not the one asked for")
	}
	return nil
}

// patchedToken is the success of PatchToken.
type patchedToken struct {
	oneToken
	guarded *Patch     // as sent; nil if a token cannot show its effect
	before  UnixMillis // lastModified before the change, or 0
}

// read accepts a token that is unreadable or broke off, once it has the _id.
func (t *patchedToken) read(r *httpsend.Result) (Outcome, error) {
	err := t.decode(r)
	switch {
	case err == nil && t.isBefore(r.Body):
		return OutcomeUnknown, errors.New("the response is the token as it was before the change")
	case err == nil || r.Status == http.StatusOK && isSameID(idIn(r.Body), t.id):
		return OutcomeApplied, err
	}
	return OutcomeUnknown, err
}

// isBefore reports whether the response is the token before the change: a guarded patch would still
// change it. On a connection that is out of step, a change gets the response to the read before it.
func (t *patchedToken) isBefore(body []byte) bool {
	if t.guarded == nil || t.before > 0 && t.token.LastModified > t.before {
		return false
	}
	body = bytes.TrimSpace(body)
	after, err := t.guarded.byRulesOfV2().apply(body)
	return err == nil && !jsonpatch.Equal(after, body)
}

// isSameID compares two ids, which are hexadecimal and may be spelled in capitals.
func isSameID(a, b string) bool { return strings.EqualFold(a, b) }

// idIn returns the _id on the top level of a body, which may have broken off.
func idIn(body []byte) (id string) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return ""
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return id
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return id
		}
		if name == "_id" { // of two, the last one counts
			id, _ = rawjson.Text(value)
		}
	}
	return id
}

// hasTest reports whether p has a test operation.
func (p *Patch) hasTest() bool {
	return slices.ContainsFunc(p.operations(), func(op jsonpatch.Operation) bool { return op.Op == jsonpatch.OpTest })
}

const maxID = 256 // bytes; the ids in use have 24

// CheckTokenID returns an [*InputError] if id cannot be the id of a V2 token. It is then empty, a
// dot segment, longer than 256 bytes, or not UTF-8, has control characters, or looks like a
// credential, which the error does not show.
func CheckTokenID(id string) error { return checkID(id, nil) }

// checkID refuses impossible ids. Everything else is escaped, except dot segments, which cannot be
// escaped: RFC 3986 section 5.2.4. A text with a part of one of the secrets is a credential passed
// by mistake.
func checkID(id string, secrets *redact.Secrets) error {
	refuse := func(value, want string) error { return &InputError{Field: "id", Value: value, Want: want} }
	switch {
	case id == "":
		return refuse(`""`, "the id of an access token")
	case credentialShape.MatchString(id) || secrets.In(id):
		return refuse("a credential", "the id of an access token, not its value")
	case id == "." || id == "..":
		return refuse(id, "an id that is not a dot segment")
	case len(id) > maxID:
		return refuse(strconv.Itoa(len(id))+" bytes", "at most "+strconv.Itoa(maxID)+" bytes")
	case !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl):
		return refuse(strconv.Quote(secrets.Clean(id)), "UTF-8 without control characters")
	}
	return nil
}

// credentialShape matches the credentials of both APIs: "api-" and a UUID, and "api_" and a JWT.
var credentialShape = regexp.MustCompile(`(?i)(api|mob|sdk)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|api_ey[a-z0-9_-]+\.[a-z0-9_-]+\.`)

var (
	getToken   = newEndpoint(http.MethodGet, "/api/v2/tokens/{id}")
	listTokens = newEndpoint(http.MethodGet, "/api/v2/tokens")
)

// GetToken returns the access token with this id: GET /api/v2/tokens/{id}. Its value has only the
// last four characters.
//
// An id that [V2Tokens.PatchToken] refuses is an [*InputError], as is a client without an access
// token. A read changes nothing: it is sent again whenever this may help, and the outcome of every
// error is [OutcomeNotApplied]. An error with a response has the type of its status. Without one it
// is a [*ReadError], or a [*RateLimitedError] if the rate limit kept the request from being sent.
func (t *V2Tokens) GetToken(ctx context.Context, id string) (*Token, error) {
	return t.get(ctx, id, false)
}

// get is GetToken. With noGrace, the context includes the grace already.
func (t *V2Tokens) get(ctx context.Context, id string, noGrace bool) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	if err := checkID(id, t.service.engine.Known.Secrets()); err != nil {
		return nil, err
	}
	result := readToken{oneToken{id: id}}
	err := t.service.send(ctx, request{endpoint: getToken, token: id, result: &result, replay: ReplayIdempotent, noGrace: noGrace})
	if err != nil {
		return nil, err
	}
	return result.token, nil
}

// TokensOptions are the options of [V2Tokens.Tokens]. The zero value is the default.
type TokensOptions struct {
	// ShowAll also lists personal tokens of other members, if the credential may see them.
	ShowAll bool

	// PageSize is how many tokens to ask for at once. 0 means 25; no maximum is documented. A
	// negative number is an error, and so is a page longer than [Config.MaxResponseBytes].
	PageSize int
}

// Tokens returns the access tokens of the account, page by page: GET /api/v2/tokens. Each page is
// one call, with the errors of [V2Tokens.GetToken], made when the loop needs it. API versions
// before 20240415 have no pages.
//
// The list continues while a page is full, has a link to the next one, or ends before the total
// count. Without a count it ends with an empty page. Ten empty pages in a row end it in any case.
//
// If tokens change between two pages, none is returned twice, but one that appears, vanishes or
// moves may be missed. An error ends the loop and comes with a nil Token. It is that of a page, an
// [*InputError] about an option, or an [*APIError] if ten pages in a row repeat earlier ones.
func (t *V2Tokens) Tokens(ctx context.Context, options TokensOptions) iter.Seq2[*Token, error] {
	if options.PageSize < 0 {
		return func(yield func(*Token, error) bool) {
			yield(nil, &InputError{Field: "TokensOptions.PageSize", Value: strconv.Itoa(options.PageSize), Want: "a number that is not negative"})
		}
	}
	query := make(url.Values)
	if options.ShowAll {
		query.Set("showAll", "true")
	}
	return list(ctx, t, listTokens, cmp.Or(options.PageSize, tokenPageSize), query, func(t *Token) string { return t.ID })
}

const (
	tokenPageSize = 25 // the API's default
	// maxIdlePages is how many pages without anything new end a list. A few are normal: new items
	// push others to later pages.
	maxIdlePages = 10
)

// list returns the items of an endpoint with pages of this size.
func list[T any](ctx context.Context, t *V2Tokens, e *endpoint, size int, query url.Values, id func(*T) string) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		seen := make(map[string]bool)
		offset, empty, repeats := 0, 0, 0 // empty pages, and repetitions, in a row
		for more := true; more && empty < maxIdlePages; {
			p := page[T]{id: id}
			if err := t.readPage(ctx, e, query, size, offset, &p); err != nil {
				yield(nil, err)
				return
			}
			known, items := len(seen), p.Items.Or(nil)
			for i := range items {
				if item := &items[i]; !seen[id(item)] {
					seen[id(item)] = true
					if !yield(item, nil) {
						return
					}
				}
			}
			switch {
			case len(items) == 0:
				offset, empty = offset+size, empty+1
			case len(seen) > known:
				offset, empty, repeats = offset+len(items), 0, 0
			default:
				offset, empty, repeats = offset+len(items), 0, repeats+1
			}
			total := p.TotalCount.Or(offset + len(items)) // without a count, an empty page is the last one
			more = len(items) >= size || p.Links.Next.IsSet() || offset < total
			if more && repeats == maxIdlePages { // or a server could keep the loop going for ever
				yield(nil, t.errRepeats(e))
				return
			}
		}
	}
}

func (t *V2Tokens) errRepeats(e *endpoint) error {
	return &APIError{
		CallInfo: t.service.info(e, ""), StatusCode: http.StatusOK, Code: statusName(http.StatusOK), Attempts: 1,
		Message: fmt.Sprintf("%d pages in a row have only items that were on earlier pages", maxIdlePages),
	}
}

// readPage reads one page of a list into result.
func (t *V2Tokens) readPage(ctx context.Context, e *endpoint, query url.Values, size, offset int, result success) error {
	if t == nil || t.service == nil {
		return errNotMade
	}
	values := url.Values{"limit": {strconv.Itoa(size)}}
	maps.Copy(values, query)
	if offset > 0 {
		values.Set("offset", strconv.Itoa(offset))
	}
	return t.service.send(ctx, request{endpoint: e, query: values.Encode(), result: result, replay: ReplayIdempotent})
}

// readToken is the success of GetToken.
type readToken struct{ oneToken }

func (t *readToken) read(r *httpsend.Result) (Outcome, error) { return outcomeOfRead(t.decode(r)) }

// decodeOK decodes a response with the one documented success status of V2.
func decodeOK(r *httpsend.Result, result any) error {
	switch {
	case r.Status != http.StatusOK:
		return errUnexpectedStatus(http.StatusOK)
	case r.Err != nil:
		return r.Err
	}
	if token, ok := result.(*Token); ok {
		return token.UnmarshalJSON(r.Body) // in one pass
	}
	return json.Unmarshal(r.Body, result)
}

// outcomeOfRead is the outcome of a read with a status 2xx. An unexpected body may be a proxy's
// page, and the next read may return the token.
func outcomeOfRead(err error) (Outcome, error) {
	if err != nil {
		return OutcomeNotApplied, err
	}
	return OutcomeApplied, nil
}

// page is the success of a page of a list: a status 200 with the items.
type page[T any] struct {
	Items      Field[[]T]
	TotalCount Field[int]
	Links      struct{ Next Field[json.RawMessage] } `json:"_links"`

	id func(*T) string
}

func (p *page[T]) read(r *httpsend.Result) (Outcome, error) { return outcomeOfRead(p.decode(r)) }

func (p *page[T]) decode(r *httpsend.Result) error {
	*p = page[T]{id: p.id}
	if err := decodeOK(r, p); err != nil {
		return err
	}
	if p.Items.IsZero() {
		return errors.New("the response is not a list: it has no items")
	}
	for i, item := range p.Items.Or(nil) {
		if p.id(&item) == "" {
			return fmt.Errorf("item %d has no _id", i)
		}
	}
	return nil
}
