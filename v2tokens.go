package tokenpatch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
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
	cannotTestVersion atomic.Bool // whether the service has refused a test of /lastModified that must have held
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

// PatchToken changes the settings of the access token with this id, and
// returns the token as it then is: PATCH /api/v2/tokens/{id}.
//
// An id that [CheckTokenID] refuses, or that has a part of a credential that the
// client knows, is an [*InputError], as is a client that has no access token; a patch that has a mistake or no operation is a [*PatchError]. After an
// attempt that leaves the outcome unknown, the request is sent again only if
// [Patch.Replay] allows it. [OutcomeOf] the error is the outcome of the patch; if
// that is [OutcomeApplied], the patch was applied and only the rest of the response
// could not be read. A response without the _id that was asked for proves nothing,
// and neither does a token that a guarded patch would still change.
// The patch is sent as it is when the call begins: what is added to it later is not
// sent.
//
// A gateway that sends one request twice is outside of what PatchToken can see: the
// second copy of a guarded patch fails, and the response may be that one's.
func (t *V2Tokens) PatchToken(ctx context.Context, id string, patch *Patch) (*Token, error) {
	return t.patch(ctx, id, patch, patch.Replay(), 0)
}

// patch sends a patch. replay is whether it may be sent again, and before is
// lastModified of the token that it is for, or 0.
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

// oneToken decodes a status 200 with the token that was asked for. Anything else
// may be a proxy's page, or the response to another request.
type oneToken struct {
	id    string // that was asked for
	token *Token // made late: calls that wait hold little memory
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
	guarded *Patch     // that was sent; nil if a token can show nothing of it
	before  UnixMillis // lastModified before the change, or 0
}

// read takes a token that cannot be read, or that broke off, for a success once it
// has the _id.
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

// isBefore reports whether the response is the token as it was before the change:
// a guarded patch would still change it. On a connection that is out of step, a
// change gets the response to the read before it.
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

// CheckTokenID returns an [*InputError] if id cannot be the id of an access token of V2: if it is empty, a dot segment, longer
// than 256 bytes, or not UTF-8, has control characters, or looks like a credential, which is not shown then.
func CheckTokenID(id string) error { return checkID(id, nil) }

// checkID refuses what cannot be an id. Whatever passes is escaped, except that nothing can escape a dot segment: RFC 3986
// section 5.2.4. A text with a part of one of the secrets is a credential that was passed by mistake.
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
