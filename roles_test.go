package tokenpatch_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// Whatever a token may do before, afterwards it may do what was asked for and
// nothing else.
func TestTokenUses(t *testing.T) {
	policy := tokenpatch.Statement{Effect: tokenpatch.EffectAllow, Resources: []string{"proj/*"}, Actions: []string{"*"}}
	uses := map[string]struct {
		use  func(*tokenpatch.Token)
		want string
	}{
		"role":         {func(t *tokenpatch.Token) { t.UseRole(tokenpatch.RoleReader) }, `{"role":"reader"}`},
		"custom roles": {func(t *tokenpatch.Token) { t.UseCustomRoles("a", "b") }, `{"customRoleIds":["a","b"]}`},
		"inline role":  {func(t *tokenpatch.Token) { t.UseInlineRole(policy) }, `{"inlineRole":[{"resources":["proj/*"],"actions":["*"],"effect":"allow"}]}`},
	}
	before := []string{
		``, `,"role":"admin"`, `,"role":"reader","customRoleIds":["a"]`, `,"customRoleIds":["b","a"]`, `,"customRoleIds":[],"inlineRole":[]`,
		`,"inlineRole":[{"effect":"deny"}]`, `,"role":"writer","customRoleIds":["c"],"inlineRole":[{"effect":"deny"}]`,
	}
	for name, test := range uses {
		for _, access := range before {
			t.Run(name+access, func(t *testing.T) {
				service, client := newPair(t)
				require.NoError(t, service.AddV2(`{"_id":"`+idV2+`"`+access+`}`))
				for range 2 {
					_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
						test.use(token)
						return nil
					})
					require.NoError(t, err)
				}
				document, _ := service.V2(idV2)
				want, got := decodeTokenJSON(t, test.want), decodeTokenJSON(t, string(document))
				assert.Zero(t, tokenpatch.Diff(got, want).Len(), "%s", document)
				assert.LessOrEqual(t, service.Changes(idV2), 1, "a token that is as desired is not written")
				for _, change := range service.History(idV2) {
					assert.Contains(t, string(change.Body), `{"op":"test","path":"/lastModified"`)
				}
			})
		}
	}
}

// A policy added by somebody else between the read and the change does not survive a change of the
// role.
func TestTokenUsesBesideAnotherWriter(t *testing.T) {
	service, client := newPair(t)
	require.NoError(t, service.AddV2(`{"_id":"`+idV2+`","role":"writer"}`))
	calls := 0
	token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
		if calls++; calls == 1 {
			writeAsOther(t, service, idV2, `[{"op":"add","path":"/inlineRole","value":[{"effect":"allow","actions":["*"],"resources":["*"]}]}]`)
		}
		token.UseRole(tokenpatch.RoleReader)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 2, calls)
	assert.Empty(t, token.InlineRole.Or(nil))
	assert.Equal(t, tokenpatch.RoleReader, token.Role.Or(""))
}

func TestCustomRoles(t *testing.T) {
	service, client := newPair(t)
	var want []string
	for i := range 45 {
		id := fmt.Sprintf("5f0c1f2e3d4b5a69788796%02d", i)
		want = append(want, id)
		require.NoError(t, service.AddRole(fmt.Sprintf(`{"_id":%q,"key":"role-%d","name":"Role %d","description":"d","policy":[{"effect":"deny"}]}`, id, i, i)))
	}
	var got []string
	for role, err := range client.V2.CustomRoles(t.Context()) {
		require.NoError(t, err)
		assert.Equal(t, tokenpatch.CustomRole{
			ID: role.ID, Key: fmt.Sprint("role-", len(got)), Name: fmt.Sprint("Role ", len(got)), Description: "d",
		}, *role)
		got = append(got, role.ID)
	}
	assert.Equal(t, want, got)
	assert.Equal(t, []string{"limit=20", "limit=20&offset=20", "limit=20&offset=40"}, queries(service))

	service.AddCredential(tokenpatchtest.Credential{AccessToken: tokenpatchtest.AccessToken, NoRoles: true})
	for role, err := range client.V2.CustomRoles(t.Context()) {
		assert.Nil(t, role)
		assertAs[*tokenpatch.ForbiddenError](t, err)
		assertOutcome(t, notApplied, err)
	}
	var none *tokenpatch.V2Tokens
	for _, err := range none.CustomRoles(t.Context()) {
		assertAs[*tokenpatch.InputError](t, err)
	}
}

func TestIdentity(t *testing.T) {
	service, client := newPair(t)
	require.NoError(t, service.AddV2(`{"_id":"`+tokenpatchtest.CredentialID+`","name":"mine","serviceToken":true}`))
	identity, err := client.V2.Identity(t.Context())
	require.NoError(t, err)
	assert.Equal(t, &tokenpatch.Identity{
		AccountID: tokenpatchtest.AccountID, TokenID: tokenpatchtest.CredentialID, TokenName: "mine", TokenKind: "auth",
		ServiceToken: true, MemberID: tokenpatchtest.MemberID,
	}, identity)

	for _, status := range []int{403, 404} {
		service.Inject(tokenpatchtest.Fault{Status: status})
		_, err = client.V2.Identity(t.Context())
		assert.Equal(t, status, assertAs[*tokenpatch.APIError](t, err).StatusCode)
		assertOutcome(t, notApplied, err)
	}
	var none *tokenpatch.V2Tokens
	_, err = none.Identity(t.Context())
	assertAs[*tokenpatch.InputError](t, err)
}

// A gateway's page does not pass for an identity.
func TestIdentityRefusesWhatIsNone(t *testing.T) {
	for _, body := range []string{`{}`, `null`, `[]`, `<html>`, `{"accountId": 1}`, `{"tokenId": "x"}`} {
		_, client := newPair(t, retries(once), through(func(*http.Request) (*http.Response, error) {
			return respond(200, "application/json", body), nil
		}))
		identity, err := client.V2.Identity(t.Context())
		assert.Nil(t, identity)
		assertAs[*tokenpatch.APIError](t, err)
	}
}
