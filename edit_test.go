package tokenpatch_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func isChange(r *http.Request) bool { return r.Method == http.MethodPatch && isOurs(r) }

// routes names the requests that the service received, and their statuses.
func routes(service *tokenpatchtest.Service) (routes []string) {
	for _, r := range service.Requests() {
		what := "read"
		if r.Method == http.MethodPatch {
			what = "change"
		}
		routes = append(routes, what+" "+http.StatusText(r.Status))
	}
	return routes
}

func TestEditToken(t *testing.T) {
	service, client := newPair(t)
	token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{Comment: "why"}, func(token *tokenpatch.Token) error {
		token.Name = tokenpatch.Set("after")
		token.CustomRoleIDs = tokenpatch.Set([]string{"ci"})
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, "after", token.Name.Or(""))
	assert.Equal(t, []string{"read OK", "change OK"}, routes(service), "one read and one change")
	body := string(service.Requests()[1].Body)
	assert.Contains(t, body, `"comment":"why"`)
	assert.Contains(t, body, `{"op":"test","path":"/name","value":"Example reader token"}`)

	token, err = client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("ci"))
	require.NoError(t, err)
	assert.Equal(t, []string{"ci"}, token.CustomRoleIDs.Or(nil))
	assert.Equal(t, 3, service.RequestCount(), "one that is as wanted is not written")
}

// Removing and adding a role are one line each in the caller's function.
func TestEditTokenAddsAndRemovesRoles(t *testing.T) {
	service, client := newPair(t)
	require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": ["a", "b"]}`))
	edits := map[string]func([]string) []string{
		"remove": func(roles []string) []string {
			return slices.DeleteFunc(roles, func(id string) bool { return id == "a" })
		},
		"add": func(roles []string) []string {
			return append(slices.DeleteFunc(roles, func(id string) bool { return id == "c" }), "c")
		},
	}
	for _, name := range []string{"remove", "add", "add", "remove"} {
		_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
			token.CustomRoleIDs = tokenpatch.Set(edits[name](token.CustomRoleIDs.Or(nil)))
			return nil
		})
		require.NoError(t, err)
	}
	token, _ := service.V2(idV2)
	assert.Contains(t, string(token), `"customRoleIds":["b","c"]`)
	assert.Equal(t, 2, service.Changes(idV2))
}

func TestEditTokenRefusesWrongInput(t *testing.T) {
	nothing := func(*tokenpatch.Token) error { return nil }
	change := func(f func(*tokenpatch.Token)) func(*tokenpatch.Token) error {
		return func(token *tokenpatch.Token) error { f(token); return nil }
	}
	const member = "want a change to the settings alone: no client writes this member"
	var other tokenpatch.Token
	require.NoError(t, other.UnmarshalJSON([]byte(`{"_id": "x", "unknown": 1}`)))
	tests := []struct {
		name, id string
		options  tokenpatch.EditOptions
		edit     func(*tokenpatch.Token) error
		text     string
		requests int
	}{
		{"empty id", "", tokenpatch.EditOptions{}, nothing, "tokenpatch: id:", 0},
		{"no edit", idV2, tokenpatch.EditOptions{}, nil, "tokenpatch: edit: nil: want a function", 0},
		{"conflicts", idV2, tokenpatch.EditOptions{MaxConflicts: -1}, nothing, "tokenpatch: EditOptions.MaxConflicts: -1: want a number that is not negative", 0},
		{"id", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.ID = "x" }), `tokenpatch: edit: "_id": ` + member, 1},
		{"owner", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.OwnerID += "x" }), `tokenpatch: edit: "ownerId": ` + member, 1},
		{"value", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.Token = tokenpatch.Set(tokenpatch.Secret("secret")) }), `tokenpatch: edit: "token": ` + member, 1},
		{"extra", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.Extra = other.Extra }), `tokenpatch: edit: `, 1},
		{"statement", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) {
			token.InlineRole = tokenpatch.Set([]tokenpatch.Statement{{}})
		}), "tokenpatch: patch: ", 1},
		{"error of the edit", idV2, tokenpatch.EditOptions{}, func(*tokenpatch.Token) error { return errors.New("enough") }, "request not sent: edit: enough", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			token, err := client.V2.EditToken(t.Context(), test.id, test.options, test.edit)
			require.ErrorContains(t, err, test.text)
			assert.NotContains(t, err.Error(), "secret")
			assert.Nil(t, token)
			assertOutcome(t, notApplied, err)
			assert.Equal(t, test.requests, service.RequestCount())
			assert.Zero(t, service.Changes(idV2))
		})
	}
	var none *tokenpatch.V2Tokens
	_, err := none.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, nothing)
	assertAs[*tokenpatch.InputError](t, err)
}

// The copy that edit gets shares no memory with what was read.
func TestEditTokenCopies(t *testing.T) {
	service, client := newPair(t)
	require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": ["a", "b"],
		"inlineRole": [{"effect": "allow", "actions": ["*"], "resources": ["*"]}]}`))
	_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
		roles, _ := token.CustomRoleIDs.Get()
		roles[0] = "c"
		statements, _ := token.InlineRole.Get()
		statements[0].Actions[0] = "viewProject"
		return nil
	})
	require.NoError(t, err)
	token, _ := service.V2(idV2)
	assert.Contains(t, string(token), `"customRoleIds":["c","b"]`)
	assert.Contains(t, string(token), `"viewProject"`)
}

// Somebody else is quicker: the token is read again, and both changes stay.
func TestEditTokenMeetsAnotherWriter(t *testing.T) {
	service, client := newPair(t)
	require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": []}`))
	calls := 0
	token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
		if calls++; calls < 3 {
			writeAsOther(t, service, idV2, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`)
		}
		return addRole("added")(token)
	})
	require.NoError(t, err)
	assert.Equal(t, []string{"other", "other", "added"}, token.CustomRoleIDs.Or(nil))
	assert.Equal(t, 3, calls)
	assert.Len(t, routes(service), 2+6, "two calls for each conflict more")
}

func TestEditTokenGivesUpAfterMaxConflicts(t *testing.T) {
	for max, want := range map[int]int{0: 11, 1: 2, 4: 5} {
		service, client := newPair(t)
		require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": []}`))
		calls := 0
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{MaxConflicts: max}, func(token *tokenpatch.Token) error {
			calls++
			writeAsOther(t, service, idV2, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`)
			return addRole("added")(token)
		})
		assert.Nil(t, token)
		conflict := assertAs[*tokenpatch.EditConflictError](t, err)
		assert.Equal(t, want, conflict.Conflicts)
		assert.Equal(t, want, calls)
		assertAs[*tokenpatch.PatchFailedError](t, err)
		assertOutcome(t, notApplied, err)
		require.ErrorContains(t, err, "PATCH "+pathV2+": another writer changed the token")
	}
}

// A 422 that is no conflict is returned at once: reading again would not help.
func TestEditTokenReturnsARefusalThatIsNoConflict(t *testing.T) {
	service, client := newPair(t)
	service.Inject(tokenpatchtest.Fault{Match: isChange, Times: -1, Status: 422, Body: `{"code": "patch_failed", "message": "no"}`})
	_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
	assertAs[*tokenpatch.PatchFailedError](t, err)
	assert.False(t, errors.As(err, new(*tokenpatch.EditConflictError)))
	assertOutcome(t, notApplied, err)
	assert.Equal(t, []string{"read OK", "change Unprocessable Entity", "read OK"}, routes(service))
}

// editInBubble runs a test in virtual time, with a token that has a list of roles.
func editInBubble(t *testing.T, policy tokenpatch.RetryPolicy, test func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, retries(policy))
		require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "name": "before", "customRoleIds": []}`))
		test(t, service, client)
	})
}

// once makes one attempt a call, so that all that settles a change is EditToken.
var once = tokenpatch.RetryPolicy{MaxAttempts: 1}

func TestEditTokenSettles(t *testing.T) {
	change := func(f tokenpatchtest.Fault) tokenpatchtest.Fault { f.Match = isChange; return f }
	tests := []struct {
		name   string
		faults []tokenpatchtest.Fault
		want   []string
	}{
		{"never arrived", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore})},
			[]string{"read OK", "change ", "change OK"}},
		{"applied, and its response lost", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})},
			[]string{"read OK", "change ", "change Unprocessable Entity", "read OK"}},
		{"behind a gateway's page", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Status: 504, Body: "<html>", Apply: true})},
			[]string{"read OK", "change Gateway Timeout", "change Unprocessable Entity", "read OK"}},
		{"its response broke off", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle})},
			[]string{"read OK", "change OK", "read OK"}},
		{"late", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Late: time.Minute})},
			[]string{"read OK", "change ", "change OK"}},
		{"just late enough", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Late: time.Millisecond})},
			[]string{"read OK", "change ", "change Unprocessable Entity", "read OK"}},
		{"broken again and again", []tokenpatchtest.Fault{
			change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore, Times: 7}), change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter})},
			append([]string{"read OK", "change "}, slices.Repeat([]string{"change ", "read OK"}, 7)...)},
		{"its responses never arrive", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter, Times: -1})},
			[]string{"read OK", "change ", "change ", "read OK"}},
		{"a proxy's pages alone", []tokenpatchtest.Fault{change(tokenpatchtest.Fault{Status: 200, Body: "<html>", Apply: true, Times: -1})},
			[]string{"read OK", "change OK", "change OK", "read OK"}},
		{"its read breaks too", []tokenpatchtest.Fault{
			change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}), {}, {Status: 503}, {Cut: tokenpatchtest.CutBefore}},
			nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
				service.Inject(test.faults...)
				token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
				require.NoError(t, err)
				assert.Equal(t, []string{"added"}, token.CustomRoleIDs.Or(nil))
				if test.want != nil {
					assert.Equal(t, test.want, routes(service))
				}
				time.Sleep(2 * time.Minute) // a late one may still arrive
				synctest.Wait()
				assert.Equal(t, 1, service.Changes(idV2), "applied once")
			})
		})
	}
}

// Somebody else changes the token while it is not known what became of the
// change: both changes are there in the end.
func TestEditTokenSettlesBesideAnotherWriter(t *testing.T) {
	for _, fault := range []tokenpatchtest.Fault{
		{Cut: tokenpatchtest.CutBefore}, {Cut: tokenpatchtest.CutAfter}, {Late: 100 * time.Millisecond}, {Late: time.Minute},
		{Status: 500, Apply: true}, {DelayAfter: time.Hour},
	} {
		editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
			fault.Match = isChange
			service.Inject(fault)
			time.AfterFunc(50*time.Millisecond, func() {
				writeAsOther(t, service, idV2, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`)
			})
			token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
			require.NoError(t, err)
			assert.Contains(t, token.CustomRoleIDs.Or(nil), "added")
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			now, _ := service.V2(idV2)
			assert.Contains(t, string(now), "added")
			assert.Contains(t, string(now), "other")
		})
	}
}

// Settling ends after 8 attempts of its own, or with the context: the outcome is unknown.
func TestEditTokenThatCannotSettle(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		isRead := func(r *http.Request) bool { return r.Method == http.MethodGet }
		service.Inject(tokenpatchtest.Fault{Match: isChange, Times: -1, Cut: tokenpatchtest.CutAfter, Apply: true})
		service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{Match: isRead, Times: -1, Status: 503})
		_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
		assertAs[*tokenpatch.OutcomeUnknownError](t, err)
		assertOutcome(t, unknown, err)
		assert.LessOrEqual(t, service.RequestCount(), 2+1+8, "a read and a change, and the change again before 8 reads")
	})
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{Match: isChange, Times: -1, Cut: tokenpatchtest.CutBefore})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.V2.EditToken(ctx, idV2, tokenpatch.EditOptions{}, addRole("added"))
		assertOutcome(t, unknown, err)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// With CancelGrace the change that is under way when the context ends may finish,
// and nothing follows it.
func TestEditTokenWhoseContextEnds(t *testing.T) {
	for _, test := range []struct {
		fault tokenpatchtest.Fault
		want  tokenpatch.Outcome
	}{
		{tokenpatchtest.Fault{}, applied},
		{tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, unknown},
		{tokenpatchtest.Fault{Status: 422}, notApplied},
	} {
		synctest.Test(t, func(t *testing.T) {
			service, client := newPair(t, func(c *tokenpatch.Config) { c.CancelGrace = 5 * time.Second })
			service.SetLatency(time.Second)
			test.fault.Match = isChange
			service.Inject(test.fault)
			ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := client.V2.EditToken(ctx, idV2, tokenpatch.EditOptions{}, addRole("added"))
			assertOutcome(t, test.want, err)
			assert.Equal(t, 2*time.Second, time.Since(start))
			assert.Equal(t, 2, service.RequestCount(), "nothing follows")
		})
	}
}

// A change that was applied is reported as such where the token cannot be read afterwards.
func TestEditTokenThatCannotReadTheResult(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{}, tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle}, tokenpatchtest.Fault{Times: -1, Status: 403})
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
		require.Error(t, err)
		assert.Nil(t, token)
		assertOutcome(t, applied, err)
		assert.Equal(t, 1, service.Changes(idV2))
	})
}

// Once a change was unknown, no refusal makes it 'not applied'.
func TestEditTokenIsNeverNotAppliedAfterAnUnknown(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 409, 422} {
		editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
			service.Inject(tokenpatchtest.Fault{Match: isChange, Late: time.Minute},
				tokenpatchtest.Fault{Match: isChange, Times: -1, Status: status})
			_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
			assertOutcome(t, unknown, err)
			assert.Equal(t, status, assertAs[*tokenpatch.APIError](t, err).StatusCode)
			assert.Equal(t, 1, strings.Count(err.Error(), "outcome unknown"), "each thing once: %v", err)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			assert.Equal(t, 1, service.Changes(idV2))
		})
	}
}

// A member that the token does not have is guarded by lastModified: what somebody
// else wrote meanwhile stays.
func TestEditTokenGuardsWhatIsAbsent(t *testing.T) {
	tests := []struct {
		name  string
		fault tokenpatchtest.Fault
		other bool
		want  []string
	}{
		{"never arrived", tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore}, false,
			[]string{"read OK", "change ", "change OK"}},
		{"applied", tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, false,
			[]string{"read OK", "change ", "change Unprocessable Entity", "read OK"}},
		{"somebody else wrote", tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore, Delay: time.Second}, true,
			[]string{"read OK", "change ", "change OK", "change Unprocessable Entity", "read OK", "change OK"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service, client := newPair(t)
				require.NoError(t, service.AddV2(`{"_id": "`+idV2+`"}`))
				test.fault.Match = isChange
				service.Inject(test.fault)
				if test.other {
					time.AfterFunc(500*time.Millisecond, func() {
						writeAsOther(t, service, idV2, `[{"op": "add", "path": "/customRoleIds", "value": ["other"]}]`)
					})
				}
				token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
				require.NoError(t, err)
				assert.Contains(t, token.CustomRoleIDs.Or(nil), "added")
				assert.Equal(t, test.other, slices.Contains(token.CustomRoleIDs.Or(nil), "other"))
				assert.Equal(t, test.want, routes(service))
			})
		})
	}
}

// A guard makes a second copy of a change harmless, be it at once or late.
func TestEditTokenThroughADuplicatingProxy(t *testing.T) {
	for _, fault := range []tokenpatchtest.Fault{
		{Duplicate: true}, {Duplicate: true, Cut: tokenpatchtest.CutAfter}, {Duplicate: true, Status: 502},
		{Duplicate: true, Late: time.Minute}, {Duplicate: true, Late: time.Minute, Cut: tokenpatchtest.CutAfter},
	} {
		editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
			fault.Match = isChange
			service.Inject(fault)
			token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
			require.NoError(t, err)
			assert.Equal(t, []string{"added"}, token.CustomRoleIDs.Or(nil))
			writeAsOther(t, service, idV2, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`)
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			assert.Equal(t, 2, service.Changes(idV2))
			now, _ := service.V2(idV2)
			assert.Contains(t, string(now), `"customRoleIds":["added","other"]`)
		})
	}
}

// What a late copy of a change can do: nothing. Even if somebody puts the old value
// back, lastModified is another one.
func TestALateDuplicateDoesNothing(t *testing.T) {
	tests := []struct{ name, token, other, want string }{
		{"absent member", `{"_id": "` + idV2 + `"}`, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`, `["added","other"]`},
		{"member", `{"_id": "` + idV2 + `", "customRoleIds": []}`, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`, `["added","other"]`},
		{"member, put back", `{"_id": "` + idV2 + `", "customRoleIds": []}`, `[{"op": "replace", "path": "/customRoleIds", "value": []}]`, `[]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
				require.NoError(t, service.AddV2(test.token))
				service.Inject(tokenpatchtest.Fault{Match: isChange, Duplicate: true, Late: time.Minute})
				_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
				require.NoError(t, err)
				writeAsOther(t, service, idV2, test.other)
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				now, _ := service.V2(idV2)
				assert.Contains(t, string(now), `"customRoleIds":`+test.want)
			})
		})
	}
}
