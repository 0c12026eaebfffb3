package tokenpatch

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch/internal/ratelimit"
)

// V1Tokens is the token endpoint of deepset's API.
type V1Tokens struct{ service *service }

// TokenUpdate is the body of V1's UpdateToken schema. A field that is absent
// stays as it is; [Null] sets it to null; [Set] gives it a value.
type TokenUpdate struct {
	Name             Field[string]           `json:"name,omitzero"`              // of the API token
	OrganizationRole Field[OrganizationRole] `json:"organization_role,omitzero"` // ADMIN, MEMBER or EXTERNAL
	Personal         Field[bool]             `json:"personal,omitzero"`          // a personal token, or a service token
	RoleID           Field[uuid.UUID]        `json:"role_id,omitzero"`           // of the role assigned to the token
}

func newV1Tokens(s service, config Config) (*V1Tokens, error) {
	var err error
	s.name, s.field = "V1", "Config.V1.APIKey"
	base := cmp.Or(config.V1.BaseURL, V1BaseURL)
	if s.endpoint, err = parseEndpoint("Config.V1.BaseURL", base, "/api/v1/token/", config.AllowInsecureHTTP); err != nil {
		return nil, err
	}
	if s.credential, err = newCredential(s.field, config.V1.APIKey, config.V1.APIKeyFunc, "Bearer "); err != nil {
		return nil, err
	}
	s.route = "PATCH /api/v1/token/{api_token_id}"
	s.limiter = ratelimit.New(ratelimit.Options{MaxWait: s.retry.MaxRateLimitWait})
	s.unprocessable = func(base APIError, details []ValidationDetail) error {
		return &ValidationError{APIError: base, Details: details}
	}
	return &V1Tokens{&s}, nil
}

// UpdateToken changes the settings of the API token with this id, and returns
// nil when the server has done so: PATCH /api/v1/token/{api_token_id}.
//
// The nil UUID, an update with nothing in it and a role outside its enum are an
// [*InputError]; so is a client that has no API key. The body sets values, so
// that the request is sent again whenever an attempt ends in a way that proves
// nothing: another writer's change in between can be overwritten. Every error
// tells by [OutcomeOf] what became of the update.
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
	c, err := t.service.send(ctx, id.String(), body, ReplayIdempotent)
	if err != nil {
		return err
	}
	if c.last.status != http.StatusNoContent {
		return c.unreadable(errUnexpectedStatus(http.StatusNoContent))
	}
	return nil
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
	return json.Marshal(u)
}
