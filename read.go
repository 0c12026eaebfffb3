package tokenpatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
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
	options.PageSize = cmp.Or(options.PageSize, defaultPageSize)
	return func(yield func(*Token, error) bool) {
		seen := make(map[string]bool)
		offset, empty, repeats := 0, 0, 0 // empty pages, and repetitions, in a row
		for more := true; more && empty < maxIdlePages; {
			page, err := t.page(ctx, options, offset)
			if err != nil {
				yield(nil, err)
				return
			}
			known, items := len(seen), page.Items.Or(nil)
			for i := range items {
				if token := &items[i]; !seen[token.ID] {
					seen[token.ID] = true
					if !yield(token, nil) {
						return
					}
				}
			}
			switch {
			case len(items) == 0:
				offset, empty = offset+options.PageSize, empty+1
			case len(seen) > known:
				offset, empty, repeats = offset+len(items), 0, 0
			default:
				offset, empty, repeats = offset+len(items), 0, repeats+1
			}
			total := page.TotalCount.Or(offset + len(items)) // without a count, an empty page is the last one
			more = len(items) >= options.PageSize || page.Links.Next.IsSet() || offset < total
			if more && repeats == maxIdlePages { // or a server could keep the loop going for ever
				yield(nil, t.errRepeats())
				return
			}
		}
	}
}

const (
	defaultPageSize = 25
	// maxIdlePages is how many pages in a row without anything new end the list. A
	// few are normal: tokens that appear push others to later pages.
	maxIdlePages = 10
)

func (t *V2Tokens) errRepeats() error {
	return &APIError{
		CallInfo: t.service.info(listTokens, ""), StatusCode: http.StatusOK, Code: statusName(http.StatusOK), Attempts: 1,
		Message: fmt.Sprintf("%d pages in a row have only tokens that were on earlier pages", maxIdlePages),
	}
}

// page reads one page of the list.
func (t *V2Tokens) page(ctx context.Context, options TokensOptions, offset int) (page readPage, err error) {
	if t == nil || t.service == nil {
		return page, errNotMade
	}
	if options.PageSize < 0 {
		return page, &InputError{Field: "TokensOptions.PageSize", Value: strconv.Itoa(options.PageSize), Want: "a number that is not negative"}
	}
	query := url.Values{"limit": {strconv.Itoa(options.PageSize)}}
	if options.ShowAll {
		query.Set("showAll", "true")
	}
	if offset > 0 {
		query.Set("offset", strconv.Itoa(offset))
	}
	err = t.service.send(ctx, request{endpoint: listTokens, query: query.Encode(), result: &page, replay: ReplayIdempotent})
	return page, err
}

// readToken is the success of GetToken.
type readToken struct{ oneToken }

func (t *readToken) read(r *httpsend.Result) (Outcome, error) { return outcomeOfRead(t.decode(r)) }

// outcomeOfRead is that of a read with a status 2xx. What is not what was asked for
// may be a proxy's page, and another one when it is read again.
func outcomeOfRead(err error) (Outcome, error) {
	if err != nil {
		return OutcomeNotApplied, err
	}
	return OutcomeApplied, nil
}

// readPage is the success of a page of Tokens: a status 200 with the schema Tokens.
type readPage struct {
	Items      Field[[]Token]
	TotalCount Field[int]
	Links      struct{ Next Field[json.RawMessage] } `json:"_links"`
}

func (p *readPage) read(r *httpsend.Result) (Outcome, error) { return outcomeOfRead(p.decode(r)) }

func (p *readPage) decode(r *httpsend.Result) error {
	switch {
	case r.Status != http.StatusOK:
		return errUnexpectedStatus(http.StatusOK)
	case r.Err != nil:
		return r.Err
	}
	*p = readPage{}
	if err := json.Unmarshal(r.Body, p); err != nil {
		return err
	}
	if p.Items.IsZero() {
		return errors.New("the response is not a list of tokens: it has no items")
	}
	for i, token := range p.Items.Or(nil) {
		if token.ID == "" {
			return fmt.Errorf("item %d is not a token: it has no _id", i)
		}
	}
	return nil
}
