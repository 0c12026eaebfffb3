package tokenpatch_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

func ExamplePatch_Replay() {
	patch := newPatch().SetRole(tokenpatch.RoleReader)
	fmt.Println(patch.Replay())

	// Between the two a second application would append the role again.
	fmt.Println(patch.Clone().AddCustomRoleID("ci").Replay())

	// A test of what the patch changes fails the second time.
	fmt.Println(newPatch().Test(tokenpatch.PathCustomRoleIDs, []string{}).AddCustomRoleID("ci").Replay())
	// Output:
	// idempotent
	// unsafe
	// guarded
}

// The rule is tested in internal/jsonpatch; here are the members that the service
// writes, and the patches that programs build.
func TestReplay(t *testing.T) {
	const idempotent, guarded, unsafe = tokenpatch.ReplayIdempotent, tokenpatch.ReplayGuarded, tokenpatch.ReplayUnsafe
	tests := map[string]struct {
		patch *tokenpatch.Patch
		want  tokenpatch.Replay
	}{
		"nothing":                               {newPatch(), idempotent},
		"every setter but the append":           {newPatch().SetName("a").SetDescription("b").SetRole("reader").SetCustomRoleIDs("c").SetInlineRole(allow()).SetDefaultAPIVersion(1).Comment("d"), idempotent},
		"append":                                {newPatch().AddCustomRoleID("a"), unsafe},
		"append to a list that the patch set":   {newPatch().SetCustomRoleIDs("a").AddCustomRoleID("b"), guarded},
		"append to a list that is not tested":   {newPatch().Test("/name", "a").SetName("b").AddCustomRoleID("c"), unsafe},
		"test of what is appended to":           {newPatch().Test("/customRoleIds", []string{"a"}).AddCustomRoleID("b"), guarded},
		"remove":                                {newPatch().Remove("/description"), guarded},
		"a member that is no setting":           {newPatch().Add("/x", 1), idempotent},
		"lastModified is the service's":         {newPatch().Test("/lastModified", 1).SetName("a"), guarded},
		"append behind a test of lastModified":  {newPatch().Test("/lastModified", 1).AddCustomRoleID("a"), guarded},
		"lastUsed is the service's":             {newPatch().Test("/lastUsed", 1).SetName("a"), guarded},
		"copy of lastModified":                  {newPatch().Copy("/lastModified", "/description"), unsafe},
		"copy of what the service alone writes": {newPatch().Copy("/_id", "/name"), unsafe},

		"nil":                         {nil, unsafe},
		"a mistake":                   {newPatch().SetRole(""), unsafe},
		"the whole document replaced": {newPatch().Replace("", 1), unsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tt.want, tt.patch.Replay()) })
	}
}

// What ReplayGuarded cannot see, and what prevents it.
func TestReplayGuardedAndAnotherWriter(t *testing.T) {
	const before = `{"customRoleIds":[],"lastModified":1}`
	patch := newPatch().Test("/customRoleIds", []string{}).AddCustomRoleID("a")
	assert.Equal(t, tokenpatch.ReplayGuarded, patch.Replay())
	once, err := patch.ApplyJSON([]byte(before))
	require.NoError(t, err)
	_, err = patch.ApplyJSON(once)
	require.ErrorContains(t, err, "value differs")

	putBack := []byte(`{"customRoleIds":[],"lastModified":2}`) // by another writer, in between
	_, err = patch.ApplyJSON(putBack)
	require.NoError(t, err, "it is applied again")
	safe := newPatch().Test("/lastModified", 1).Test("/customRoleIds", []string{}).AddCustomRoleID("a")
	assert.Equal(t, tokenpatch.ReplayGuarded, safe.Replay())
	_, err = safe.ApplyJSON(putBack)
	require.ErrorContains(t, err, `test "/lastModified": test failed: value differs`)
}

func TestReplayString(t *testing.T) {
	assert.Equal(t, "unsafe guarded idempotent unsafe", fmt.Sprint(
		tokenpatch.ReplayUnsafe, tokenpatch.ReplayGuarded, tokenpatch.ReplayIdempotent, tokenpatch.Replay(7)))
}
