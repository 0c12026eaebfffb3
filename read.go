package tokenpatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

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
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	if err := t.service.checkID(id); err != nil {
		return nil, err
	}
	result := readToken{id: id}
	err := t.service.send(ctx, request{endpoint: getToken, token: id, result: &result, replay: ReplayIdempotent})
	if err != nil {
		return nil, err
	}
	return &result.token, nil
}

// TokensOptions are the options of [V2Tokens.Tokens]. The zero value is the default.
type TokensOptions struct {
	// ShowAll lists other members' personal tokens as well, where the credential
	// may see them.
	ShowAll bool

	// PageSize is how many tokens to ask for at once. 0 leaves it to the service,
	// which documents 25; no largest size is documented. A negative number is an
	// error, and so is a page that is longer than [Config.MaxResponseBytes].
	PageSize int
}

// Tokens returns the access tokens of the account, page by page:
// GET /api/v2/tokens. Each page is one call, with the errors of
// [V2Tokens.GetToken]. It is made when the loop gets there: a loop that ends
// early sends nothing more.
//
//	for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(token.ID, token.Name.Or(""))
//	}
//
// The list may change between two pages: no token is yielded twice, but one that
// appears, vanishes or moves may be missed. An error ends the loop, and comes with
// a nil Token: that of a page, an [*InputError] about an option, or an [*APIError]
// where 10 pages in a row have nothing new.
func (t *V2Tokens) Tokens(ctx context.Context, options TokensOptions) iter.Seq2[*Token, error] {
	return func(yield func(*Token, error) bool) {
		seen := make(map[string]bool)
		repeats := 0 // pages in a row that have nothing new
		for offset, more := 0, true; more; {
			page, err := t.page(ctx, options, offset)
			if err != nil {
				yield(nil, err)
				return
			}
			known := len(seen)
			for i := range page.Items {
				token := &page.Items[i]
				if !seen[token.ID] && !yield(token, nil) {
					return
				}
				seen[token.ID] = true
			}
			offset += len(page.Items)
			more = len(page.Items) > 0 && offset < page.TotalCount.Or(offset+1)
			if repeats++; len(seen) > known {
				repeats = 0
			}
			if more && repeats == maxRepeats { // or a server could keep the loop going for ever
				yield(nil, t.errRepeats())
				return
			}
		}
	}
}

// maxRepeats is how many pages in a row without anything new end the list. A few
// are no sign of a broken server: tokens that appear push others to later pages.
const maxRepeats = 10

func (t *V2Tokens) errRepeats() error {
	return &APIError{
		CallInfo: t.service.info(listTokens, ""), StatusCode: http.StatusOK, Code: statusName(http.StatusOK), Attempts: 1,
		Message: fmt.Sprintf("%d pages in a row have only tokens that were on earlier pages", maxRepeats),
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
	query := make(url.Values)
	if options.ShowAll {
		query.Set("showAll", "true")
	}
	if options.PageSize > 0 {
		query.Set("limit", strconv.Itoa(options.PageSize))
	}
	if offset > 0 {
		query.Set("offset", strconv.Itoa(offset))
	}
	err = t.service.send(ctx, request{endpoint: listTokens, query: query.Encode(), result: &page, replay: ReplayIdempotent})
	return page, err
}

// readToken is the success of GetToken: a status 200 with the token that was asked
// for. Another one, as from a cache, would settle a change that it says nothing of.
type readToken struct {
	id    string // that was asked for
	token Token
}

func (t *readToken) read(r *httpsend.Result) (Outcome, error) {
	return readOutcome(r, func(body []byte) error {
		if err := t.token.UnmarshalJSON(body); err != nil {
			return err
		}
		if err := checkIDOf(&t.token); err != nil {
			return err
		}
		if !strings.EqualFold(t.token.ID, t.id) { // an id in hexadecimal may be spelled in capitals
			return errors.New("the response is another token: its _id is not the one asked for")
		}
		return nil
	})
}

// readPage is the success of a page of Tokens: a status 200 with the schema Tokens.
type readPage struct {
	Items      []Token
	TotalCount Field[int]
}

func (p *readPage) read(r *httpsend.Result) (Outcome, error) {
	return readOutcome(r, func(body []byte) error {
		*p = readPage{}
		if err := json.Unmarshal(body, p); err != nil {
			return err
		}
		if p.Items == nil {
			return errors.New("the response is not a list of tokens: it has no items")
		}
		for i := range p.Items {
			if err := checkIDOf(&p.Items[i]); err != nil {
				return fmt.Errorf("item %d: %w", i, err)
			}
		}
		return nil
	})
}

func checkIDOf(t *Token) error {
	if t.ID == "" {
		return errNoID
	}
	return nil
}

// readOutcome decodes the response to a read. What is not what was asked for may
// be a proxy's page, and not so when it is read again.
func readOutcome(r *httpsend.Result, decode func([]byte) error) (Outcome, error) {
	switch {
	case r.Status != http.StatusOK:
		return OutcomeNotApplied, errUnexpectedStatus(http.StatusOK)
	case r.Err != nil:
		return OutcomeNotApplied, r.Err
	}
	if err := decode(r.Body); err != nil {
		return OutcomeNotApplied, err
	}
	return OutcomeApplied, nil
}
