package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

func rename(id, name string) fleet.Change {
	return fleet.Change{ID: id, Want: &fleet.Want{Name: tokenpatch.Set(name)}}
}

const uuidV1 = "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11"

func renameV1(id, name string) fleet.Change {
	return fleet.Change{ID: id, Update: &tokenpatch.TokenUpdate{Name: tokenpatch.Set(name)}}
}

func total(t *testing.T, store *fleet.Store, run string) int {
	t.Helper()
	p, err := store.Progress(context.Background(), run)
	require.NoError(t, err)
	return p.Total()
}

func TestAddAgainAddsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		store, ctx := open(t, source), context.Background()
		changes := all(rename("a", "new"), rename("b", "new"), renameV1(uuidV1, "new"))
		for _, want := range []int{3, 0} {
			added, err := store.Add(ctx, "run", changes, fleet.AddOptions{})
			require.NoError(t, err)
			assert.Equal(t, want, added)
		}
		added, err := store.Add(ctx, "run", all(rename("a", "new"), rename("c", "new")), fleet.AddOptions{})
		require.NoError(t, err)
		assert.Equal(t, 1, added)
		assert.Equal(t, 4, total(t, store, "run"))
		added, err = store.Add(ctx, "another", changes, fleet.AddOptions{})
		require.NoError(t, err)
		assert.Equal(t, 3, added, "a run of another name has changes of its own")
	})
}

func TestAddRefusesASecondChangeForAToken(t *testing.T) {
	cases := map[string]fleet.Change{
		"V2":                             rename("a", "other"),
		"V2, another kind":               {ID: "a", Patch: tokenpatch.NewPatch().SetName("new")},
		"V1, its id in another spelling": renameV1("urn:uuid:"+strings.ToUpper(uuidV1), "other"),
	}
	onEach(t, func(t *testing.T, source string) {
		store, ctx := open(t, source), context.Background()
		_, err := store.Add(ctx, "run", all(rename("a", "new"), renameV1(uuidV1, "new")), fleet.AddOptions{})
		require.NoError(t, err)
		for name, change := range cases {
			_, err := store.Add(ctx, "run", all(rename("b", "new"), change), fleet.AddOptions{})
			var duplicate *fleet.DuplicateError
			require.ErrorAs(t, err, &duplicate, name)
			assert.EqualError(t, err, duplicate.Error(), "each thing once")
			given, err := json.Marshal(change)
			require.NoError(t, err, name)
			assert.Equal(t, string(given), duplicate.New, name)
			assert.Contains(t, duplicate.Have, `"name":"new"`, name)
			assert.EqualError(t, duplicate, fmt.Sprintf(`fleet: run "run": token %s: want one change, not both %s and %s`, duplicate.ID, duplicate.Have, duplicate.New))
			assert.Equal(t, "run", duplicate.Run)
			assert.Equal(t, 2, total(t, store, "run"), "%s: all or nothing", name)
		}
		_, err = store.Add(ctx, "both in one", all(rename("a", "new"), rename("a", "other")), fleet.AddOptions{})
		require.ErrorAs(t, err, new(*fleet.DuplicateError))
		_, err = store.Progress(ctx, "both in one")
		require.ErrorAs(t, err, new(*fleet.UnknownRunError), "a run that nothing was added to is none")
	})
}

func TestAddIsAllOrNothing(t *testing.T) {
	broken := errors.New("the file ends in the middle of a line")
	onEach(t, func(t *testing.T, source string) {
		store, ctx := open(t, source), context.Background()
		_, err := store.Add(ctx, "run", func(yield func(fleet.Change, error) bool) {
			for i := range 2500 {
				if !yield(rename(fmt.Sprint(i), "new"), nil) {
					return
				}
			}
			yield(fleet.Change{}, broken)
		}, fleet.AddOptions{})
		require.ErrorIs(t, err, broken)
		_, err = store.Progress(ctx, "run")
		require.ErrorAs(t, err, new(*fleet.UnknownRunError))

		ended, cancel := context.WithCancel(ctx)
		_, err = store.Add(ended, "run", func(yield func(fleet.Change, error) bool) {
			cancel()
			yield(rename("a", "new"), nil)
		}, fleet.AddOptions{})
		require.ErrorIs(t, err, context.Canceled)
		_, err = store.Progress(ctx, "run")
		require.ErrorAs(t, err, new(*fleet.UnknownRunError))
	})
}

func TestAddSaysWhatIsWrong(t *testing.T) {
	store := open(t, t.TempDir()+"/run.db")
	statement := []tokenpatch.Statement{{Effect: "perhaps"}}
	cases := map[string]struct {
		change fleet.Change
		want   string
	}{
		"nothing to do":        {fleet.Change{ID: "a"}, "exactly one of Want, Patch and Update"},
		"two things":           {fleet.Change{ID: "a", Want: &fleet.Want{}, Patch: tokenpatch.NewPatch()}, "exactly one of Want, Patch and Update"},
		"no id":                {rename("", "new"), "Change.ID"},
		"a dot segment":        {rename("..", "new"), "Change.ID"},
		"a control character":  {rename("a\nb", "new"), "Change.ID"},
		"a long id":            {rename(strings.Repeat("a", 257), "new"), "at most 256 bytes"},
		"no UUID":              {renameV1("a", "new"), "a UUID"},
		"the nil UUID":         {renameV1("00000000-0000-0000-0000-000000000000", "new"), "other than the nil UUID"},
		"an empty want":        {fleet.Change{ID: "a", Want: &fleet.Want{Comment: "why"}}, "Change.Want"},
		"an empty patch":       {fleet.Change{ID: "a", Patch: tokenpatch.NewPatch()}, "patch"},
		"a patch's mistake":    {fleet.Change{ID: "a", Patch: tokenpatch.NewPatch().Add("name", 1)}, "patch"},
		"an empty update":      {fleet.Change{ID: uuidV1, Update: &tokenpatch.TokenUpdate{}}, "Change.Update"},
		"a role that is none":  {fleet.Change{ID: uuidV1, Update: &tokenpatch.TokenUpdate{OrganizationRole: tokenpatch.Set[tokenpatch.OrganizationRole]("OWNER")}}, "ADMIN, MEMBER or EXTERNAL"},
		"a broken statement":   {fleet.Change{ID: "a", Want: &fleet.Want{InlineRole: tokenpatch.Set(statement)}}, "inlineRole"},
		"roles in two ways":    {fleet.Change{ID: "a", Want: &fleet.Want{CustomRoleIDs: tokenpatch.Set([]string{"x"}), AddCustomRoleIDs: []string{"y"}}}, "CustomRoleIDs"},
		"a role in and out":    {fleet.Change{ID: "a", Want: &fleet.Want{AddCustomRoleIDs: []string{"y"}, RemoveCustomRoleIDs: []string{"y"}}}, "RemoveCustomRoleIDs"},
		"a run without a name": {rename("a", "new"), "want a name"},
	}
	for name, c := range cases {
		run := "run"
		if strings.HasPrefix(name, "a run") {
			run = ""
		}
		_, err := store.Add(context.Background(), run, all(rename("first", "new"), c.change), fleet.AddOptions{})
		require.ErrorContains(t, err, c.want, name)
		if run != "" {
			require.ErrorContains(t, err, "change 2", name)
		}
	}
}

func TestChangeAsJSON(t *testing.T) {
	for _, line := range []string{
		`{"api":"v2","id":"61095542756dba551110ae21","want":{"description":null,"role":"reader"},"comment":"quarterly review"}`,
		`{"api":"v2","id":"a","want":{"addCustomRoleIds":["x"],"removeCustomRoleIds":["y"]}}`,
		`{"api":"v2","id":"a","patch":[{"op":"replace","path":"/name","value":"ci"}],"comment":"why"}`,
		`{"api":"v1","id":"6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11","update":{"name":"ci","role_id":null}}`,
	} {
		var change fleet.Change
		require.NoError(t, change.UnmarshalJSON([]byte(line)), line)
		again, err := change.MarshalJSON()
		require.NoError(t, err, line)
		assert.Equal(t, line, string(again))
	}
	for line, want := range map[string]string{
		`{"api":"v2","id":"a","want":{"nmae":"x"}}`:                              "nmae",
		`{"api":"v1","id":"a","want":{"name":"x"}}`:                              "api",
		`{"api":"v2","id":"a"}`:                                                  "exactly one",
		`{"api":"v1","id":"` + uuidV1 + `","update":{"name":"x"},"comment":"y"}`: "comment",
		`{"api":"v2","id":"a","patch":[{"op":"rename","path":"/name"}]}`:         "rename",
	} {
		require.ErrorContains(t, new(fleet.Change).UnmarshalJSON([]byte(line)), want, line)
	}
}
