package tokenpatch

import (
	"context"
	"errors"
	"iter"
	"net/http"

	"github.com/tokenpatch/tokenpatch/internal/httpsend"
)

// UseRole gives the token a base role in place of whatever it had: the custom roles and the inline
// role are removed. Use it in the function for [V2Tokens.EditToken].
func (t *Token) UseRole(role Role) {
	t.Role, t.CustomRoleIDs, t.InlineRole = Set(role), Field[[]string]{}, Field[[]Statement]{}
}

// UseCustomRoles gives the token these custom roles in place of whatever it had: the
// base role and the inline role are removed. ids are those of [CustomRole.ID], not
// keys.
func (t *Token) UseCustomRoles(ids ...string) {
	t.Role, t.CustomRoleIDs, t.InlineRole = Field[Role]{}, Set(ids), Field[[]Statement]{}
}

// UseInlineRole gives the token a policy of its own in place of whatever it had: the
// base role and the custom roles are removed.
func (t *Token) UseInlineRole(statements ...Statement) {
	t.Role, t.CustomRoleIDs, t.InlineRole = Field[Role]{}, Field[[]string]{}, Set(statements)
}

var (
	listRoles = newEndpoint(http.MethodGet, "/api/v2/roles")
	identify  = newEndpoint(http.MethodGet, "/api/v2/caller-identity")
)

// CustomRole is a custom role of the account, after the schema CustomRole of V2.
type CustomRole struct {
	ID          string `json:"_id"` // what [Token.CustomRoleIDs] holds
	Key         string `json:"key"` // what people call it: "ops"
	Name        string `json:"name"`
	Description string `json:"description"`
}

const rolePageSize = 20 // the API's default

// CustomRoles returns the custom roles of the account, page by page:
// GET /api/v2/roles. It continues and ends as [V2Tokens.Tokens] does.
func (t *V2Tokens) CustomRoles(ctx context.Context) iter.Seq2[*CustomRole, error] {
	return list(ctx, t, listRoles, rolePageSize, nil, func(r *CustomRole) string { return r.ID })
}

// Identity is who makes the calls of a client, after the schema CallerIdentityRep
// of V2.
type Identity struct {
	AccountID    string   `json:"accountId"`
	TokenID      string   `json:"tokenId"` // empty for an OAuth token
	TokenName    string   `json:"tokenName"`
	TokenKind    string   `json:"tokenKind"`
	ServiceToken bool     `json:"serviceToken"` // a service token, not a personal one
	MemberID     string   `json:"memberId"`
	Scopes       []string `json:"scopes"` // of an OAuth token
}

// Identity returns whose credential the client uses: GET /api/v2/caller-identity.
// The errors are those of [V2Tokens.GetToken].
func (t *V2Tokens) Identity(ctx context.Context) (*Identity, error) {
	if t == nil || t.service == nil {
		return nil, errNotMade
	}
	var result readIdentity
	if err := t.service.send(ctx, request{endpoint: identify, result: &result, replay: ReplayIdempotent}); err != nil {
		return nil, err
	}
	return &result.Identity, nil
}

// readIdentity is the success of Identity: a status 200 that names an account.
type readIdentity struct{ Identity }

func (i *readIdentity) read(r *httpsend.Result) (Outcome, error) { return outcomeOfRead(i.decode(r)) }

func (i *readIdentity) decode(r *httpsend.Result) error {
	i.Identity = Identity{}
	if err := decodeOK(r, &i.Identity); err != nil {
		return err
	}
	if i.AccountID == "" {
		return errors.New("the response is not an identity: it has no accountId")
	}
	return nil
}
