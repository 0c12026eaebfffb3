package tokenpatch

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// V2Tokens is the access token endpoint of LaunchDarkly's API.
type V2Tokens struct{ service *service }

func newV2Tokens(s service, config Config) (*V2Tokens, error) {
	var err error
	s.name, s.field = "V2", "Config.V2.AccessToken"
	base := cmp.Or(config.V2.BaseURL, V2BaseURL)
	if s.endpoint, err = parseEndpoint("Config.V2.BaseURL", base, "/api/v2/tokens/", config.AllowInsecureHTTP); err != nil {
		return nil, err
	}
	if s.credential, err = newCredential(s.field, config.V2.AccessToken, config.V2.AccessTokenFunc, ""); err != nil {
		return nil, err
	}
	if config.V2.APIVersion < 0 {
		return nil, &InputError{Field: "Config.V2.APIVersion", Value: strconv.Itoa(config.V2.APIVersion), Want: "a version such as 20240415, or 0 for that one"}
	}
	s.header = s.header.Clone()
	s.header["Ld-Api-Version"] = []string{strconv.Itoa(cmp.Or(config.V2.APIVersion, defaultAPIVersion))}
	s.route = "PATCH /api/v2/tokens/{id}"
	s.limiter = ratelimit.New(ratelimit.Options{MaxWait: s.retry.MaxRateLimitWait})
	s.retryConflict = true
	s.unprocessable = func(base APIError, _ []ValidationDetail) error {
		return &PatchFailedError{base}
	}
	return &V2Tokens{&s}, nil
}

// PatchToken changes the settings of the access token with this id, and
// returns the token as it then is: PATCH /api/v2/tokens/{id}.
//
// An id that cannot be one is an [*InputError], as is a client that has no
// access token; a patch that has a mistake or no operation is a [*PatchError].
// The request is sent again after an attempt that proves nothing only as far
// as [Patch.Replay] allows. Every error tells by [OutcomeOf] what became of
// the patch; where that is [OutcomeApplied], the patch was applied and only
// the token that came back could not be read. The call sends the patch as it
// is when the call begins: what is added to it later is not sent.
func (t *V2Tokens) PatchToken(ctx context.Context, id string, patch *Patch) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	if err := checkID(id); err != nil {
		return nil, err
	}
	body, err := patch.encode()
	if err != nil {
		return nil, err
	}
	c, err := t.service.send(ctx, id, body, patch.Replay())
	if err != nil {
		return nil, err
	}
	return c.token()
}

// RateLimit returns what is known now of the service's rate limit.
func (t *V2Tokens) RateLimit() RateLimit {
	if t == nil || t.service == nil {
		return RateLimit{}
	}
	return newRateLimit(t.service.limiter.State())
}

// token reads the token that a successful patch is answered with.
func (c *call) token() (*Token, error) {
	if c.last.status != http.StatusOK {
		return nil, c.unreadable(errUnexpectedStatus(http.StatusOK))
	}
	if c.last.err != nil {
		return nil, c.unreadable(c.last.err)
	}
	token := new(Token)
	if err := token.UnmarshalJSON(c.last.body); err != nil {
		return nil, c.unreadable(err)
	}
	if token.ID == "" {
		return nil, c.unreadable(errNoID)
	}
	return token, nil
}

var errNoID = errors.New("the answer is not a token: it has no _id")

const maxID = 256 // bytes; the ids in use have 24

// checkID refuses what cannot be an id. Whatever passes is escaped, except
// that nothing can escape a dot segment: RFC 3986 section 5.2.4.
func checkID(id string) error {
	want := ""
	switch {
	case id == "":
		want = "the id of an access token"
	case id == "." || id == "..":
		want = "an id that is not a dot segment"
	case len(id) > maxID:
		want = "at most " + strconv.Itoa(maxID) + " bytes"
	case !utf8.ValidString(id) || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r == 0x7f }):
		want = "UTF-8 without control characters"
	default:
		return nil
	}
	return &InputError{Field: "id", Value: strconv.Quote(id[:min(len(id), 64)]), Want: want}
}
