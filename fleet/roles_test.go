package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// addRoles adds the custom roles of the tests, by id.
func addRoles(t testing.TB, service *tokenpatchtest.Service) {
	for _, id := range []string{"first", "second", "mine", "theirs", "added", "none"} {
		require.NoError(t, service.AddRole(fmt.Sprintf(`{"_id": %q, "key": "key-of-%[1]s"}`, id)))
	}
}

const (
	opsID    = "5f0c00000000000000000001"
	deployID = "5f0c00000000000000000002"
	goneID   = "5f0c0000000000000000dead"
)

// withRoles is a bench with the custom roles ops and deploy.
func withRoles(t *testing.T) *bench {
	b := newBench(t, t.TempDir()+"/run.db")
	require.NoError(t, b.service.AddRole(fmt.Sprintf(`{"_id": %q, "key": "ops", "name": "Operations"}`, opsID)))
	require.NoError(t, b.service.AddRole(fmt.Sprintf(`{"_id": %q, "key": "deploy"}`, deployID)))
	return b
}

// listings are how often the custom roles were listed.
func (b *bench) listings() (n int) {
	for _, r := range b.service.Requests() {
		if r.Method == http.MethodGet && strings.HasPrefix(r.Path, "/api/v2/roles") && !strings.Contains(r.Path, "offset") {
			n++
		}
	}
	return n
}

func (b *bench) want(id string, want string) fleet.Change {
	b.Helper()
	var change fleet.Change
	require.NoError(b, json.Unmarshal(fmt.Appendf(nil, `{"api": "v2", "id": %q, "want": %s}`, id, want), &change))
	return change
}

// has returns some members of a token.
func (b *bench) has(id string, names ...string) string {
	b.Helper()
	document, found := b.service.V2(id)
	require.True(b, found)
	var members map[string]json.RawMessage
	require.NoError(b, json.Unmarshal(document, &members))
	var texts []string
	for _, name := range names {
		if members[name] != nil {
			texts = append(texts, name+" "+string(members[name]))
		}
	}
	return strings.Join(texts, ", ")
}

func TestWhatATokenMayDoIsOneOfThree(t *testing.T) {
	b := withRoles(t)
	policy := `[{"effect":"allow","resources":["proj/*"],"actions":["*"]}]`
	cases := []struct{ want, has string }{
		{`{"role": "reader"}`, `role "reader"`},
		{`{"role": "reader", "inlineRole": null}`, `role "reader"`},
		{`{"role": "reader", "customRoleIds": ["ops"]}`, `role "reader", customRoleIds ["` + opsID + `"]`},
		{`{"role": "reader", "addCustomRoleIds": ["ops"]}`, `role "reader", customRoleIds ["first","` + opsID + `"]`},
		{`{"role": "reader", "removeCustomRoleIds": ["` + goneID + `"]}`, `role "reader", customRoleIds ["first"]`},
		{`{"customRoleIds": ["ops"]}`, `customRoleIds ["` + opsID + `"]`},
		{`{"customRoleIds": []}`, `role "writer", customRoleIds [], inlineRole ` + policy},
		{`{"customRoleIds": null}`, `role "writer", inlineRole ` + policy},
		{`{"role": null}`, `customRoleIds ["first"], inlineRole ` + policy},
		{`{"inlineRole": []}`, `role "writer", customRoleIds ["first"], inlineRole []`},
		{`{"inlineRole": [{"effect":"deny","resources":["proj/*"],"actions":["*"]}]}`, `inlineRole [{"resources":["proj/*"],"actions":["*"],"effect":"deny"}]`},
		{`{"addCustomRoleIds": ["ops"]}`, `role "writer", customRoleIds ["first","` + opsID + `"], inlineRole ` + policy},
		{`{"name": "new"}`, `role "writer", customRoleIds ["first"], inlineRole ` + policy},
	}
	for i, c := range cases {
		id := fmt.Sprint("token-", i)
		require.NoError(t, b.service.AddV2(fmt.Sprintf(`{"_id": %q, "name": "old", "role": "writer", "customRoleIds": ["first"], "inlineRole": %s}`, id, policy)))
		b.add("run", b.want(id, c.want))
	}
	require.NoError(t, b.run("run"))
	for i, c := range cases {
		assert.Equal(t, c.has, b.has(fmt.Sprint("token-", i), "role", "customRoleIds", "inlineRole"), c.want)
	}
	assert.Contains(t, string(b.service.History("token-0")[0].Body), `"path":"/lastModified"`, "nobody's policy slips in")
}

func TestSettingsWithoutAField(t *testing.T) {
	b := withRoles(t)
	b.service.SetOptions(tokenpatchtest.Options{Members: []string{"expiry"}})
	for _, id := range []string{"set", "delete", "as wanted"} {
		require.NoError(t, b.service.AddV2(fmt.Sprintf(`{"_id": %q, "expiry": 1}`, id)))
	}
	b.add("run", b.want("set", `{"set": {"expiry": 1798761600000}}`), b.want("delete", `{"set": {"expiry": null}}`), b.want("as wanted", `{"set": {"expiry": 1.0}}`))
	require.NoError(t, b.run("run"))
	assert.Equal(t, "expiry 1798761600000", b.has("set", "expiry"))
	assert.Empty(t, b.has("delete", "expiry"))
	assert.Empty(t, b.service.History("as wanted"))
	for name, want := range map[string]string{"role": "for which there is no field", "": "can write", "_access": "can write", "serviceToken": "for which there is no field"} {
		_, err := json.Marshal(fleet.Change{ID: "a", Want: &fleet.Want{Members: map[string]json.RawMessage{name: json.RawMessage("1")}}})
		require.ErrorContains(t, err, want, name)
	}
}

func TestCustomRolesByKey(t *testing.T) {
	b := withRoles(t)
	ctx := context.Background()
	b.add("run", b.want(b.token("a"), `{"customRoleIds": ["ops", "`+strings.ToUpper(deployID)+`"]}`), b.want(b.token("b"), `{"addCustomRoleIds": ["deploy"], "removeCustomRoleIds": ["key-of-first"]}`))
	require.NoError(t, b.run("run"))
	assert.Equal(t, `customRoleIds ["`+opsID+`","`+deployID+`"]`, b.has("a", "customRoleIds"))
	assert.Equal(t, `customRoleIds ["`+deployID+`"]`, b.has("b", "customRoleIds"))
	assert.Equal(t, 1, b.listings())
	roles, err := b.store.Roles(ctx, "run")
	require.NoError(t, err)
	assert.Contains(t, roles, tokenpatch.CustomRole{ID: opsID, Key: "ops", Name: "Operations"})

	// A key keeps its meaning although another role has it now, and a deleted role is refused.
	require.NoError(t, b.service.AddRole(fmt.Sprintf(`{"_id": %q, "key": "old-ops"}`, opsID)))
	require.NoError(t, b.service.AddRole(`{"_id": "5f0c00000000000000000003", "key": "ops"}`))
	b.service.Remove(deployID)
	b.add("run", b.want(b.token("c"), `{"customRoleIds": ["ops"]}`), b.want(b.token("d"), `{"addCustomRoleIds": ["deploy"]}`))
	require.NoError(t, b.run("run"))
	assert.Equal(t, `customRoleIds ["`+opsID+`"]`, b.has("c", "customRoleIds"))
	assert.Equal(t, fleet.StateNotApplied, b.results("run")["d"].State)
	assert.Contains(t, b.results("run")["d"].Err, deployID)
	assert.Equal(t, 1, b.listings(), "the run has them")
}

func TestCustomRolesThatCannotBeResolved(t *testing.T) {
	b := withRoles(t)
	require.NoError(t, b.service.AddRole(`{"_id": "5f0c00000000000000000004", "key": "`+opsID+`"}`))
	for want, text := range map[string]string{
		`{"removeCustomRoleIds": ["opps"]}`:                                             `RemoveCustomRoleIDs: "opps": want the key or the id of a custom role of the account; did you mean ops?`,
		`{"addCustomRoleIds": ["unlike anything"]}`:                                     `AddCustomRoleIDs: "unlike anything": want the key or the id of a custom role of the account`,
		`{"customRoleIds": ["` + goneID + `"]}`:                                         `CustomRoleIDs: "` + goneID + `": want the key or the id of a custom role of the account`,
		`{"customRoleIds": ["` + opsID + `"]}`:                                          `one role: this is the id of custom role "ops" and the key of custom role 5f0c00000000000000000004`,
		`{"customRoleIds": ["deploy", "` + deployID + `"]}`:                             `want each custom role once`,
		`{"addCustomRoleIds": ["deploy"], "removeCustomRoleIds": ["` + deployID + `"]}`: `want no custom role that is to be added as well`,
	} {
		run := "run of " + want
		b.add(run, rename(b.token("a"), "new"), b.want("b", want), b.want("c", want))
		err := b.run(run)
		var wrong *fleet.RolesError
		require.ErrorAs(t, err, &wrong, want)
		require.ErrorContains(t, err, text)
		assert.Equal(t, 2, wrong.Changes)
		assert.Equal(t, "b", wrong.Token)
		assert.Len(t, wrong.Mistakes, 1)
		assert.Equal(t, 3, b.progress(run).Pending, "nothing was sent")
	}
	assert.Empty(t, b.service.History("a"))
}

func TestIdsWorkIfRolesCannotBeListed(t *testing.T) {
	b := withRoles(t)
	b.service.AddCredential(tokenpatchtest.Credential{AccessToken: tokenpatchtest.AccessToken, NoRoles: true})
	b.add("ids", b.want(b.token("a"), `{"customRoleIds": ["`+opsID+`"]}`))
	require.NoError(t, b.run("ids"))
	assert.Equal(t, `customRoleIds ["`+opsID+`"]`, b.has("a", "customRoleIds"))
	b.add("keys", b.want(b.token("b"), `{"customRoleIds": ["ops"]}`))
	require.ErrorContains(t, b.run("keys"), "the credential may not list the custom roles of the account, so keys cannot be looked up")
}

func TestPlanNamesCustomRoles(t *testing.T) {
	b := withRoles(t)
	client, err := tokenpatch.NewClient(b.options.Client)
	require.NoError(t, err)
	var planned []fleet.Planned
	for p, err := range fleet.Plan(context.Background(), client, all(b.want(b.token("a"), `{"customRoleIds": ["ops"]}`),
		b.want(b.token("b"), `{"role": "reader"}`), b.want(b.token("c"), `{"addCustomRoleIds": ["opps"]}`))) {
		require.NoError(t, err)
		planned = append(planned, p)
	}
	assert.Equal(t, map[string]string{"first": "key-of-first", opsID: "ops"}, planned[0].Roles)
	assert.Equal(t, []string{opsID}, planned[0].After.CustomRoleIDs.Or(nil))
	assert.Equal(t, map[string]string{"first": "key-of-first"}, planned[1].Roles, "what goes")
	require.ErrorContains(t, planned[2].Err, "did you mean ops?")
	assert.Equal(t, 1, b.listings())

	b.add("run", b.want("a", `{"customRoleIds": ["ops"]}`))
	require.NoError(t, b.run("run"))
	undo := b.reverted("run")["a"]
	require.NoError(t, undo.Err)
	assert.Equal(t, map[string]string{"first": "key-of-first", opsID: "ops"}, undo.Roles)
}

// An unknown id may be removed, in capitals too. A plan shows missing ones: nothing is revoked.
func TestRemovingRolesThatAreNotThere(t *testing.T) {
	for name, refused := range map[string]bool{"roles are listed": false, "roles cannot be listed": true} {
		t.Run(name, func(t *testing.T) {
			b := withRoles(t)
			if refused {
				b.service.AddCredential(tokenpatchtest.Credential{AccessToken: tokenpatchtest.AccessToken, NoRoles: true})
			}
			require.NoError(t, b.service.AddV2(fmt.Sprintf(`{"_id": "has", "customRoleIds": [%q]}`, goneID)))
			require.NoError(t, b.service.AddV2(`{"_id": "lacks", "customRoleIds": ["first"]}`))
			client, err := tokenpatch.NewClient(b.options.Client)
			require.NoError(t, err)
			remove := fmt.Sprintf(`{"removeCustomRoleIds": [%q]}`, strings.ToUpper(goneID))
			planned := map[string]fleet.Planned{}
			for p, err := range fleet.Plan(context.Background(), client, all(b.want("has", remove), b.want("lacks", remove))) {
				require.NoError(t, err)
				require.NoError(t, p.Err)
				planned[p.Change.ID] = p
			}
			assert.Empty(t, planned["has"].NotThere)
			assert.Empty(t, planned["has"].After.CustomRoleIDs.Or(nil))
			assert.Equal(t, []string{goneID}, planned["lacks"].NotThere)
			b.add("run", b.want("has", remove), b.want("lacks", remove))
			require.NoError(t, b.run("run"))
			assert.Equal(t, `customRoleIds []`, b.has("has", "customRoleIds"))
		})
	}
}

// The result of a change that removes custom roles has their keys, although the change names none.
func TestRolesThatAreTakenAwayAreLookedUp(t *testing.T) {
	t.Parallel()
	b := withRoles(t)
	b.add("run", b.want(b.token("a"), `{"role": "reader"}`), b.want(b.token("b"), `{"role": "reader"}`))
	require.NoError(t, b.run("run"))
	roles, err := b.store.Roles(context.Background(), "run")
	require.NoError(t, err)
	assert.Contains(t, roles, tokenpatch.CustomRole{ID: "first", Key: "key-of-first", Name: "key-of-first"})
	assert.Equal(t, 1, b.listings())

	b.add("name", b.want("a", `{"name": "x"}`))
	b.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/api/v2/roles") }, Times: -1, Status: 500})
	b.add("role", b.want(b.token("c"), `{"role": "reader"}`))
	require.NoError(t, b.run("name"))
	require.NoError(t, b.run("role"), "a change does not need them")
	assert.Equal(t, `role "reader"`, b.has("c", "role", "customRoleIds"))
}

// Roles in another order than they were read in refuse a guard: the change is made
// again with the order as read, also if a response was lost before.
func TestAGuardThatFailsForTheOrderOfRoles(t *testing.T) {
	for name, lost := range map[string]bool{"no response is lost": false, "a request is lost": true} {
		t.Run(name, func(t *testing.T) {
			b := withRoles(t)
			b.hasty()
			defer fleet.SetPauses(time.Second, time.Second)()
			add := func(ids string) bool {
				return assert.NoError(b, b.service.AddV2(`{"_id": "a", "customRoleIds": [`+ids+`], "lastModified": 7}`))
			}
			add(`"first", "second"`)
			if lost {
				b.service.Inject(tokenpatchtest.Fault{Match: isPatch("a"), Cut: tokenpatchtest.CutBefore})
			}
			b.service.Inject(tokenpatchtest.Fault{Match: func(r *http.Request) bool { return isPatch("a")(r) && add(`"second", "first"`) }})
			b.add("run", b.want("a", `{"addCustomRoleIds": ["ops"]}`))
			require.NoError(t, b.run("run"))
			assert.Equal(t, fleet.StateApplied, b.results("run")["a"].State, b.results("run")["a"].Err)
			assert.Equal(t, `customRoleIds ["second","first","`+opsID+`"]`, b.has("a", "customRoleIds"))
		})
	}
}

func TestACredentialIsNoID(t *testing.T) {
	const value = "api-12345678-1234-1234-1234-123456789012"
	for _, change := range []fleet.Change{rename(value, "new"), renameV1(value, "new"), {ID: value, Patch: tokenpatch.NewPatch().SetName("new")}} {
		_, err := json.Marshal(change)
		require.ErrorContains(t, err, "not its value")
		assert.NotContains(t, err.Error(), "12345678")
		store := open(t, t.TempDir()+"/run.db")
		_, err = store.Add(context.Background(), "run", all(change), fleet.AddOptions{})
		require.True(t, errors.As(err, new(*tokenpatch.InputError)))
		assert.NotContains(t, err.Error(), "12345678")
	}
}
