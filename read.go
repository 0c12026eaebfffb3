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

	"github.com/tokenpatch/tokenpatch/internal/attempt"
)

var (
	getToken   = newEndpoint(http.MethodGet, "/api/v2/tokens/{id}")
	listTokens = newEndpoint(http.MethodGet, "/api/v2/tokens")
)

// GetToken returns the access token with this id as it is now:
// GET /api/v2/tokens/{id}. Of the token's value it has the last four characters.
//
// An id that cannot be one is an [*InputError], as is a client that has no access
// token. A read changes nothing: it is sent again whenever that may help, and the
// outcome of every error is [OutcomeNotApplied]. An error without a response is a
// [*ReadError]; one about a response is an [*APIError], by the type of its status.
func (t *V2Tokens) GetToken(ctx context.Context, id string) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	if err := t.service.checkID(id); err != nil {
		return nil, err
	}
	token := new(Token)
	err := t.service.send(ctx, request{endpoint: getToken, token: id, result: (*readToken)(token), replay: always})
	if err != nil {
		return nil, err
	}
	return token, nil
}

// TokensOptions are which tokens [V2Tokens.Tokens] lists, and how. The zero value
// is the default.
type TokensOptions struct {
	// ShowAll lists other members' personal tokens as well, where the credential
	// may see them.
	ShowAll bool

	// PageSize is how many tokens to ask for at once. 0 leaves it to the service,
	// which documents 25; no largest size is documented. A negative one is an error,
	// as is a page of more than [Config.MaxResponseBytes].
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
// The list may change between two pages: no token is seen twice, but one that
// appears, vanishes or moves may be missed. An error, with a nil Token, is the
// last thing that the loop gets: that of a page, an [*InputError] about an
// option, or an [*APIError] where 10 pages in a row have nothing new.
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
	err = t.service.send(ctx, request{endpoint: listTokens, query: query.Encode(), result: &page, replay: always})
	return page, err
}

// always is the replay of a read.
func always() Replay { return ReplayIdempotent }

// readToken is the success of GetToken: a status 200 with a token.
type readToken Token

func (t *readToken) read(r *attempt.Result) (Outcome, error) {
	return readOutcome(r, func(body []byte) error {
		if err := (*Token)(t).UnmarshalJSON(body); err != nil {
			return err
		}
		return checkIDOf((*Token)(t))
	})
}

// readPage is the success of a page of Tokens: a status 200 with the schema Tokens.
type readPage struct {
	Items      []Token
	TotalCount Field[int]
}

func (p *readPage) read(r *attempt.Result) (Outcome, error) {
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
func readOutcome(r *attempt.Result, decode func([]byte) error) (Outcome, error) {
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

// ReadError is the error of a read that got no response. A read changes nothing:
// its outcome is [OutcomeNotApplied].
type ReadError struct {
	CallInfo
	Attempts int   // how many attempts were made; 0 where the call ended before the first
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
