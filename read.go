package tokenpatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

var (
	getToken   = newEndpoint(http.MethodGet, "/api/v2/tokens/{id}")
	listTokens = newEndpoint(http.MethodGet, "/api/v2/tokens")
)

// GetToken returns the access token with this id as it is now:
// GET /api/v2/tokens/{id}. Of the token's value it has the last four characters.
//
// An id that [V2Tokens.PatchToken] refuses is an [*InputError], as is a client that
// has no access token. A read changes nothing: it is sent again whenever that may
// help, and the outcome of every error is [OutcomeNotApplied]. Where there was a
// response, the error is of the type of its status, and an [*APIError]; where there
// was none, it is a [*ReadError], or a [*RateLimitedError] where the rate limit kept
// the request from being sent.
func (t *V2Tokens) GetToken(ctx context.Context, id string) (*Token, error) {
	return t.get(ctx, id, false)
}

// get is GetToken, if noGrace with a context that has the grace already.
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
	// ShowAll lists other members' personal tokens as well, where the credential
	// may see them.
	ShowAll bool

	// PageSize is how many tokens to ask for at once. 0 means 25; no largest size is
	// documented. A negative number is an error, and so is a page that is longer
	// than [Config.MaxResponseBytes].
	PageSize int
}

// Tokens returns the access tokens of the account, page by page:
// GET /api/v2/tokens. Each page is one call, with the errors of
// [V2Tokens.GetToken]. It is made when the loop gets there: a loop that ends
// early sends nothing more. API versions before 20240415 have no pages.
//
//	for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(token.ID, token.Name.Or(""))
//	}
//
// The list continues while a page is full, has a link to the next one, or ends
// before the number of tokens that the service counts; if it counts none, until a
// page is empty. Ten empty pages in a row end it,
// because the service may count tokens that the credential may not see.
//
// The list may change between two pages: no token is yielded twice, but one that
// appears, vanishes or moves may be missed. An error ends the loop, and comes with
// a nil Token: that of a page, an [*InputError] about an option, or an [*APIError]
// if ten pages in a row repeat earlier ones.
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
	// maxIdlePages is how many pages in a row without anything new end a list. A few
	// are normal: items that appear push others to later pages.
	maxIdlePages = 10
)

// list returns the items of an endpoint that has pages of this size.
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

// decodeOK decodes a response with the only status that V2 documents for a success.
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

// outcomeOfRead is that of a read with a status 2xx. What is not what was asked for
// may be a proxy's page, and another one when it is read again.
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
