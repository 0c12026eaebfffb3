package tokenpatch

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// V1Tokens are the tokens of deepset's API: [Client] has them as V1.
type V1Tokens struct{ service *service }

// TokenUpdate is an update of a V1 (deepset) token, after the schema UpdateToken. An absent field
// stays unchanged; [Null] sets it to null; [Set] gives it a value.
type TokenUpdate struct {
	Name             Field[string]           `json:"name,omitzero"`
	OrganizationRole Field[OrganizationRole] `json:"organization_role,omitzero"` // ADMIN, MEMBER or EXTERNAL
	Personal         Field[bool]             `json:"personal,omitzero"`          // whether it is a personal token, not a service token
	RoleID           Field[uuid.UUID]        `json:"role_id,omitzero"`           // of the role assigned to the token
}

var updateToken = newEndpoint(http.MethodPatch, "/api/v1/token/{api_token_id}")

func newV1Tokens(shared shared, config Config) (*V1Tokens, error) {
	s, err := newService(shared, config, ownConfig{
		api: "V1", credential: "APIKey", baseURL: cmp.Or(config.V1.BaseURL, V1BaseURL), scheme: "Bearer ",
		fixed: config.V1.APIKey, supply: config.V1.APIKeyFunc, account: config.V1.Account,
	})
	if err != nil {
		return nil, err
	}
	if supply := s.engine.Credential; supply != nil {
		s.engine.Credential = func(ctx context.Context, refused string) (string, error) {
			s.noteExpired(Secret(refused))
			return supply(ctx, refused)
		}
	}
	return &V1Tokens{s}, nil
}

// Expires returns when an API key of V1 expires: the exp of the JWT in it, which is
// not verified. It returns false if there is none.
func (s Secret) Expires() (time.Time, bool) {
	parts := strings.Split(string(s), ".")
	if len(parts) != 3 {
		return time.Time{}, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct {
		Exp float64 `json:"exp"` // seconds since 1970, and maybe a fraction
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Exp <= 0 || claims.Exp > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(int64(claims.Exp), 0).UTC(), true
}

// noteExpired notes whether the refused key has expired.
func (s *service) noteExpired(refused Secret) {
	if refused == "" {
		return
	}
	s.expired.Store(nil)
	if at, ok := refused.Expires(); ok && at.Before(time.Now()) {
		s.expired.Store(&at)
	}
}

// whyUnauthorized is what is known here of why a credential was refused.
func (s *service) whyUnauthorized() error {
	if at := s.expired.Load(); at != nil {
		return fmt.Errorf("the API key expired at %s", at.Format(time.RFC3339))
	}
	return nil
}

// UpdateToken changes the settings of a V1 token: PATCH /api/v1/token/{api_token_id}. [OutcomeOf]
// the error is the outcome of the update.
//
// The nil UUID, an update without a field, an undocumented organization role and a client without
// an API key are an [*InputError]. An update sets values, so it is sent again whenever its outcome
// is unknown. A repetition can overwrite a change of another writer in between.
//
// Only a status 204 proves success. Behind a gateway that turns it into 200, each update is sent as
// often as [RetryPolicy] allows, and ends as unknown.
func (t *V1Tokens) UpdateToken(ctx context.Context, id uuid.UUID, update TokenUpdate) error {
	if t == nil || t.service == nil {
		return errNotMade
	}
	body, err := update.encode()
	if err != nil {
		return err
	}
	if id == uuid.Nil {
		return &InputError{Field: "id", Value: id.String(), Want: "a UUID other than the nil UUID"}
	}
	return t.service.send(ctx, request{
		endpoint: updateToken, token: id.String(), body: body, result: noContent{},
		replay: ReplayIdempotent,
	})
}

// RateLimit returns what is known now of V1's rate limit. It sends nothing.
func (t *V1Tokens) RateLimit() RateLimit {
	if t == nil || t.service == nil {
		return RateLimit{}
	}
	return t.service.rateLimit()
}

// noContent is the success of UpdateToken: a status 204. Any other 2xx may be a
// gateway's page.
type noContent struct{}

func (noContent) read(r *httpsend.Result) (Outcome, error) {
	if r.Status != http.StatusNoContent {
		return OutcomeUnknown, errUnexpectedStatus(http.StatusNoContent)
	}
	return OutcomeApplied, nil
}

// encode checks an update and returns its body.
func (u TokenUpdate) encode() ([]byte, error) {
	if u == (TokenUpdate{}) {
		return nil, &InputError{Field: "update", Value: "empty", Want: "at least one field that is set or null"}
	}
	if role, ok := u.OrganizationRole.Get(); ok {
		switch role {
		case OrganizationRoleAdmin, OrganizationRoleMember, OrganizationRoleExternal:
		default:
			return nil, &InputError{Field: "update.OrganizationRole", Value: strconv.Quote(string(role)), Want: "ADMIN, MEMBER or EXTERNAL"}
		}
	}
	return updateCodec.Append(make([]byte, 0, 128), &u), nil
}
