package tokenpatch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestSettle(t *testing.T) {
	const token = `{"_id": "` + idV2 + `", "name": "a", "role": "reader", "customRoleIds": ["r1", "r2"], "lastModified": 1, "future": {"x": 1}}`
	patch := tokenpatch.NewPatch
	const lastModified = tokenpatch.Pointer("/lastModified")
	tests := []struct {
		name    string
		patch   *tokenpatch.Patch
		guard   bool
		applied bool   // whether it is sent first
		other   string // what somebody else does then
		want    tokenpatch.Outcome
	}{
		{"as before", patch().SetName("b"), true, false, "", unknown},
		{"applied", patch().SetName("b"), true, true, "", applied},
		{"applied, another member changed since", patch().SetName("b"), true, true, `[{"op": "replace", "path": "/role", "value": "writer"}]`, applied},
		{"somebody else did the same", patch().SetName("b"), true, false, `[{"op": "replace", "path": "/name", "value": "b"}]`, applied},
		{"somebody else was quicker", patch().SetName("b"), true, false, `[{"op": "replace", "path": "/name", "value": "c"}]`, notApplied},
		{"another member was changed", patch().SetName("b"), true, false, `[{"op": "replace", "path": "/role", "value": "writer"}]`, unknown},
		{"a guarded member was removed", patch().SetName("b"), true, false, `[{"op": "remove", "path": "/name"}]`, notApplied},
		{"without a guard", patch().SetName("b"), false, false, `[{"op": "replace", "path": "/name", "value": "c"}]`, unknown},
		{"without a guard, applied", patch().SetName("b"), false, true, "", applied},
		{"replace adds what is missing", patch().SetDescription("d"), true, true, "", applied},
		{"replace of what is missing, not yet", patch().SetDescription("d"), true, false, "", unknown},
		{"what is missing is not guarded", patch().SetDescription("d"), true, false, `[{"op": "add", "path": "/description", "value": "x"}]`, unknown},
		{"two members, one as it was", patch().SetName("b").SetRole("writer"), true, false, `[{"op": "replace", "path": "/role", "value": "admin"}]`, notApplied},
		{"two members, half by somebody else", patch().SetName("b").SetRole("writer"), true, false, `[{"op": "replace", "path": "/role", "value": "writer"}]`, unknown},
		{"an append", patch().AddCustomRoleID("r3"), true, true, "", applied},
		{"roles in another order", patch().AddCustomRoleID("r3"), true, false, `[{"op": "add", "path": "/customRoleIds", "value": ["r3", "r2", "r1"]}]`, applied},
		{"roles as before in another order", patch().AddCustomRoleID("r3"), true, false, `[{"op": "add", "path": "/customRoleIds", "value": ["r2", "r1"]}]`, unknown},
		{"another role instead", patch().AddCustomRoleID("r3"), true, false, `[{"op": "add", "path": "/customRoleIds/-", "value": "r4"}]`, notApplied},
		{"applied, another role since", patch().AddCustomRoleID("r3"), true, true, `[{"op": "add", "path": "/customRoleIds/-", "value": "r4"}]`, unknown},
		{"guarded inside", patch().Test(tokenpatch.PathCustomRoleIDs+"/0", "r1").SetCustomRoleIDs("r3"), false, false, `[{"op": "replace", "path": "/customRoleIds/0", "value": "r9"}]`, notApplied},
		{"guarded inside, elsewhere changed", patch().Test(tokenpatch.PathCustomRoleIDs+"/0", "r1").SetCustomRoleIDs("r3"), false, false, `[{"op": "replace", "path": "/customRoleIds/1", "value": "r9"}]`, unknown},
		{"guarded by what the server writes", patch().Test(lastModified, 1).SetName("b"), false, true, `[{"op": "replace", "path": "/name", "value": "c"}]`, unknown},
		{"guarded by what the server writes, applied", patch().Test(lastModified, 1).SetName("b"), false, true, "", applied},
		{"an unknown member", patch().Replace("/future/x", 2), true, true, "", applied},
		{"an unknown member, as before", patch().Replace("/future/x", 2), true, false, "", unknown},
		{"tests alone, that succeed", patch().Test(tokenpatch.PathName, "a"), false, true, "", applied},
		{"tests alone, of which one fails now", patch().Test(tokenpatch.PathName, "a"), false, false, `[{"op": "replace", "path": "/name", "value": "c"}]`, notApplied},
		{"a move", patch().Move(tokenpatch.PathName, tokenpatch.PathDescription), true, true, "", applied},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			require.NoError(t, service.AddV2(token))
			before, err := client.V2.GetToken(t.Context(), idV2)
			require.NoError(t, err)
			sending := test.patch
			if test.guard {
				sending = sending.Guard(*before)
			}
			if test.applied {
				_, err := client.V2.PatchToken(t.Context(), idV2, sending)
				require.NoError(t, err)
			}
			if test.other != "" {
				writeAsOther(t, service, idV2, test.other)
			}
			sent := service.RequestCount()
			outcome, now, err := client.V2.Settle(t.Context(), *before, sending)
			require.NoError(t, err)
			assert.Equal(t, test.want.String(), outcome.String())
			assert.Equal(t, sent+1, service.RequestCount(), "one read")
			document, _ := service.V2(idV2)
			got, err := now.MarshalJSON()
			require.NoError(t, err)
			assert.JSONEq(t, string(document), string(got))
		})
	}
}

func TestSettleRefusesWrongInput(t *testing.T) {
	service, client := newPair(t)
	before := decodeTokenJSON(t, tokenJSON)
	for name, patch := range map[string]*tokenpatch.Patch{
		"nil": nil, "empty": tokenpatch.NewPatch(), "mistaken": tokenpatch.NewPatch().SetRole(""),
		"impossible": tokenpatch.NewPatch().Remove(tokenpatch.PathInlineRole + "/7"),
		"of another": tokenpatch.NewPatch().Test(tokenpatch.PathName, "another").SetName("b"),
	} {
		outcome, token, err := client.V2.Settle(t.Context(), before, patch)
		assertAs[*tokenpatch.PatchError](t, err)
		assert.Equal(t, unknown, outcome, name)
		assert.Nil(t, token)
	}
	before.ID = ""
	_, _, err := client.V2.Settle(t.Context(), before, tokenpatch.NewPatch().SetName("b"))
	assertAs[*tokenpatch.InputError](t, err)
	assert.Zero(t, service.RequestCount())
}

// A response about another token, as from a cache, settles nothing.
func TestSettleByAnotherToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t)
		service.Inject(tokenpatchtest.Fault{Times: -1, Status: 200, Body: `{"_id": "another", "name": "b"}`})
		outcome, token, err := client.V2.Settle(t.Context(), decodeTokenJSON(t, tokenJSON), tokenpatch.NewPatch().SetName("b"))
		require.ErrorContains(t, err, "the response is another token")
		assert.Equal(t, unknown, outcome)
		assert.Nil(t, token)
	})
}

func TestSettleOfATokenThatIsGone(t *testing.T) {
	service, client := newPair(t)
	service.Remove(idV2)
	outcome, token, err := client.V2.Settle(t.Context(), decodeTokenJSON(t, tokenJSON), tokenpatch.NewPatch().SetName("b"))
	assertAs[*tokenpatch.NotFoundError](t, err)
	assert.Equal(t, unknown, outcome)
	assert.Nil(t, token)
}

// A patch that arrives late is unknown, 'not applied so far', until it is there.
func TestSettleTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, retries(once))
		before := decodeTokenJSON(t, tokenJSON)
		patch := tokenpatch.NewPatch().SetName("late").Guard(before)
		service.Inject(tokenpatchtest.Fault{Late: time.Minute})
		_, err := client.V2.PatchToken(t.Context(), idV2, patch)
		assertOutcome(t, unknown, err)
		for range 60 {
			outcome, _, err := client.V2.Settle(t.Context(), before, patch)
			require.NoError(t, err)
			assert.Equal(t, unknown, outcome)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		outcome, token, err := client.V2.Settle(t.Context(), before, patch)
		require.NoError(t, err)
		assert.Equal(t, applied, outcome)
		assert.Equal(t, "late", token.Name.Or(""))
	})
}
