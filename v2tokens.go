package tokenpatch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/jsonpatch"
)

// V2Tokens are the access tokens of LaunchDarkly's API: [Client] has them as V2.
type V2Tokens struct{ service *service }

var patchToken = newEndpoint(http.MethodPatch, "/api/v2/tokens/{id}")

func newV2Tokens(shared shared, config Config) (*V2Tokens, error) {
	if config.V2.APIVersion < 0 {
		return nil, &InputError{Field: "Config.V2.APIVersion", Value: strconv.Itoa(config.V2.APIVersion), Want: "a version such as 20240415, or 0 for that one"}
	}
	s, err := newService(shared, config, ownConfig{
		api: "V2", credential: "AccessToken", baseURL: cmp.Or(config.V2.BaseURL, V2BaseURL),
		fixed: config.V2.AccessToken, supply: config.V2.AccessTokenFunc, account: config.V2.Account, share: config.V2.Share,
		header:         http.Header{"Ld-Api-Version": {strconv.Itoa(cmp.Or(config.V2.APIVersion, defaultAPIVersion))}},
		retryConflicts: true,
	})
	if err != nil {
		return nil, err
	}
	return &V2Tokens{s}, nil
}

// PatchToken changes the settings of the access token with this id, and
// returns the token as it then is: PATCH /api/v2/tokens/{id}.
//
// An id that is empty, a dot segment, longer than 256 bytes or not UTF-8, or that
// has control characters, is an [*InputError], as is a client that has no access
// token; a patch that has a mistake or no operation is a [*PatchError]. After an
// attempt that leaves the outcome unknown, the request is sent again only if
// [Patch.Replay] allows it. [OutcomeOf] the error is what became of the patch; where
// that is [OutcomeApplied], the patch was applied and only the response could not be
// read. The patch is sent as it is when the call begins: what is added to it later
// is not sent.
func (t *V2Tokens) PatchToken(ctx context.Context, id string, patch *Patch) (*Token, error) {
	return t.patch(ctx, id, patch, patch.Replay())
}

// patch sends a patch. replay is whether it may be sent again.
func (t *V2Tokens) patch(ctx context.Context, id string, patch *Patch, replay Replay) (*Token, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	if err := t.service.checkID(id); err != nil {
		return nil, err
	}
	body, err := patch.encode()
	if err != nil {
		return nil, err
	}
	var result oneToken
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

// oneToken is the success of PatchToken: a status 200 with a token. What is not
// a token may be a proxy's page.
type oneToken struct{ token *Token } // made late: calls that wait hold little memory

func (t *oneToken) read(r *httpsend.Result) (Outcome, error) {
	if r.Status != http.StatusOK {
		return OutcomeUnknown, errUnexpectedStatus(http.StatusOK)
	}
	err := r.Err
	if err == nil {
		t.token = new(Token)
		err = t.token.UnmarshalJSON(r.Body)
	}
	switch {
	case err == nil && t.token.ID != "":
		return OutcomeApplied, nil
	case err == nil:
		return OutcomeUnknown, errNoID
	case isPartOfObject(r.Body) || hasID(r.Body):
		return OutcomeApplied, err
	default:
		return OutcomeUnknown, err
	}
}

var errNoID = errors.New("the response is not a token: it has no _id")

// isPartOfObject reports whether a body is the beginning of a JSON object.
func isPartOfObject(body []byte) bool {
	var whole json.RawMessage
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&whole)
	return errors.Is(err, io.ErrUnexpectedEOF) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// hasID reports whether a body is an object with the id of a token.
func hasID(body []byte) bool {
	var members struct {
		ID string `json:"_id"`
	}
	_ = json.Unmarshal(body, &members) // another member may be wrong
	return members.ID != ""
}

// hasTest reports whether p has a test operation.
func (p *Patch) hasTest() bool {
	return slices.ContainsFunc(p.operations(), func(op jsonpatch.Operation) bool { return op.Op == jsonpatch.OpTest })
}

const maxID = 256 // bytes; the ids in use have 24

// checkID refuses what cannot be an id. Whatever passes is escaped, except
// that nothing can escape a dot segment: RFC 3986 section 5.2.4. A text that is
// no id can be a credential, and is not shown where it has a part of one.
func (s *service) checkID(id string) error {
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
	value := strconv.Quote(s.engine.Known.Secrets().Clean(id[:min(len(id), maxID)]))
	if len(id) > maxID {
		value = strconv.Itoa(len(id)) + " bytes"
	}
	return &InputError{Field: "id", Value: value, Want: want}
}
