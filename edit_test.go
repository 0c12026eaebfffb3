package tokenpatch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// routes names the received requests, and their statuses.
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
	const member = "want no change of this member, which no client writes"
	tests := []struct {
		name, id string
		options  tokenpatch.EditOptions
		edit     func(*tokenpatch.Token) error
		text     string
		requests int
	}{
		{"empty id", "", tokenpatch.EditOptions{}, nothing, "tokenpatch: id:", 0},
		{"no edit", idV2, tokenpatch.EditOptions{}, nil, "tokenpatch: edit: nil: want a function", 0},
		{"conflicts", idV2, tokenpatch.EditOptions{MaxConflicts: -2}, nothing, "tokenpatch: EditOptions.MaxConflicts: -2: want a number of conflicts, or -1 for none", 0},
		{"id", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.ID = "x" }), `tokenpatch: edit: "_id": ` + member, 1},
		{"owner", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.OwnerID += "x" }), `tokenpatch: edit: "ownerId": ` + member, 1},
		{"value", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { token.Token = tokenpatch.Set(tokenpatch.Secret("secret")) }), `tokenpatch: edit: "token": ` + member, 1},
		{"extra", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { _ = token.Extra.Set("_access", 1) }), `tokenpatch: edit: "_access": ` + member, 1},
		{"an empty name", idV2, tokenpatch.EditOptions{}, change(func(token *tokenpatch.Token) { _ = token.Extra.Set("", 1) }), `tokenpatch: edit: "": ` + member, 1},
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

// The copy for edit shares no memory with the read token.
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

// A setting without a field is changed like any other.
func TestEditTokenOfAnUnknownMember(t *testing.T) {
	service, client := newPair(t)
	service.SetOptions(tokenpatchtest.Options{Members: []string{"expiry"}})
	edit := func(edit func(*tokenpatch.Extra) error) *tokenpatch.Token {
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error { return edit(&token.Extra) })
		require.NoError(t, err)
		return token
	}
	token := edit(func(extra *tokenpatch.Extra) error { return extra.Set("expiry", 1798761600000) })
	expiry, _ := token.Extra.Get("expiry")
	assert.Equal(t, "1798761600000", string(expiry))
	edit(func(extra *tokenpatch.Extra) error { return extra.Set("expiry", 1798761600000.0) })
	assert.Equal(t, 1, service.Changes(idV2), "it is as desired already")
	edit(func(extra *tokenpatch.Extra) error { return extra.Set("expiry", nil) })
	token = edit(func(extra *tokenpatch.Extra) error { extra.Delete("expiry"); return nil })
	_, has := token.Extra.Get("expiry")
	assert.False(t, has)
	assert.Equal(t, 3, service.Changes(idV2))
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
	for most, want := range map[int]int{0: 11, -1: 1, 1: 2, 4: 5} {
		service, client := newPair(t)
		require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": []}`))
		calls := 0
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{MaxConflicts: most}, func(token *tokenpatch.Token) error {
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
		require.ErrorContains(t, err, "PATCH "+apiV2.Target()+": another writer changed the token")
	}
}

// editInBubble runs a test in virtual time, with a token with a list of roles.
func editInBubble(t *testing.T, policy tokenpatch.RetryPolicy, test func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		service, client := newPair(t, retries(policy))
		require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "name": "before", "customRoleIds": []}`))
		test(t, service, client)
	})
}

// once makes one attempt a call, so only EditToken settles a change.
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
		{"refused for another reason", []tokenpatchtest.Fault{
			change(tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}), change(tokenpatchtest.Fault{Status: 409})},
			[]string{"read OK", "change ", "change Conflict", "read OK"}},
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

// Somebody else changes the token while the outcome of the change is unknown: both changes are
// there in the end.
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
		assert.Equal(t, 2+1+8, service.RequestCount(), "a read and a change, and the change again before 8 reads")
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

// With CancelGrace a change in flight may finish after its context, and its outcome is read, but
// nothing more is sent.
func TestEditTokenWhoseContextEnds(t *testing.T) {
	for name, test := range map[string]struct {
		fault tokenpatchtest.Fault
		want  tokenpatch.Outcome
		took  time.Duration
		reads int
	}{
		"applied":                 {tokenpatchtest.Fault{}, applied, 2 * time.Second, 1},
		"applied, and not known":  {tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter}, applied, 3 * time.Second, 2},
		"applied, broken off":     {tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle}, applied, 3 * time.Second, 2},
		"never arrived":           {tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore}, unknown, 6500 * time.Millisecond, 0},
		"refused by a permission": {tokenpatchtest.Fault{Status: 403}, notApplied, 2 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				calls := 0
				service, client := newPair(t, grace(5*time.Second), func(c *tokenpatch.Config) {
					c.Hooks.CallStart = func(ctx context.Context, call tokenpatch.CallInfo) context.Context {
						if call.Method == http.MethodPatch {
							calls++
						}
						return ctx
					}
				})
				service.SetLatency(time.Second)
				test.fault.Match = isChange
				service.Inject(test.fault)
				ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
				defer cancel()
				start := time.Now()
				_, err := client.V2.EditToken(ctx, idV2, tokenpatch.EditOptions{}, addRole("added"))
				assertOutcome(t, test.want, err)
				assert.LessOrEqual(t, time.Since(start), test.took)
				assert.Equal(t, 1, strings.Count(fmt.Sprint(routes(service)), "change"), "nothing more is sent")
				assert.Equal(t, 1, calls)
				if test.reads > 0 {
					assert.Len(t, routes(service), test.reads+1)
				}
			})
		})
	}
}

// An applied change is reported as applied if the token cannot be read afterwards.
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

// lastModified guards a missing member: somebody else's write stays.
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
		{"somebody else was quicker", patch().SetName("b"), true, false, `[{"op": "replace", "path": "/name", "value": "c"}]`, unknown},
		{"another member was changed", patch().SetName("b"), true, false, `[{"op": "replace", "path": "/role", "value": "writer"}]`, unknown},
		{"a guarded member was removed", patch().SetName("b"), true, false, `[{"op": "remove", "path": "/name"}]`, unknown},
		{"without a guard", patch().SetName("b"), false, false, `[{"op": "replace", "path": "/name", "value": "c"}]`, unknown},
		{"without a guard, applied", patch().SetName("b"), false, true, "", applied},
		{"replace adds what is missing", patch().SetDescription("d"), true, true, "", applied},
		{"replace of what is missing, not yet", patch().SetDescription("d"), true, false, "", unknown},
		{"what is missing is not guarded", patch().SetDescription("d"), true, false, `[{"op": "add", "path": "/description", "value": "x"}]`, unknown},
		{"two members, one as it was", patch().SetName("b").SetRole("writer"), true, false, `[{"op": "replace", "path": "/role", "value": "admin"}]`, unknown},
		{"two members, half by somebody else", patch().SetName("b").SetRole("writer"), true, false, `[{"op": "replace", "path": "/role", "value": "writer"}]`, unknown},
		{"an append", patch().AddCustomRoleID("r3"), true, true, "", applied},
		{"roles in another order", patch().AddCustomRoleID("r3"), true, false, `[{"op": "add", "path": "/customRoleIds", "value": ["r3", "r2", "r1"]}]`, applied},
		{"roles as before in another order", patch().AddCustomRoleID("r3"), true, false, `[{"op": "add", "path": "/customRoleIds", "value": ["r2", "r1"]}]`, unknown},
		{"another role instead", patch().AddCustomRoleID("r3"), true, false, `[{"op": "add", "path": "/customRoleIds/-", "value": "r4"}]`, unknown},
		{"applied, another role since", patch().AddCustomRoleID("r3"), true, true, `[{"op": "add", "path": "/customRoleIds/-", "value": "r4"}]`, unknown},
		{"guarded inside", patch().Test(tokenpatch.PathCustomRoleIDs+"/0", "r1").SetCustomRoleIDs("r3"), false, false, `[{"op": "replace", "path": "/customRoleIds/0", "value": "r9"}]`, unknown},
		{"guarded inside, elsewhere changed", patch().Test(tokenpatch.PathCustomRoleIDs+"/0", "r1").SetCustomRoleIDs("r3"), false, false, `[{"op": "replace", "path": "/customRoleIds/1", "value": "r9"}]`, unknown},
		{"guarded by what the server writes", patch().Test(lastModified, 1).SetName("b"), false, true, `[{"op": "replace", "path": "/name", "value": "c"}]`, unknown},
		{"guarded by what the server writes, applied", patch().Test(lastModified, 1).SetName("b"), false, true, "", applied},
		{"an unknown member", patch().Replace("/future/x", 2), true, true, "", applied},
		{"an unknown member, as before", patch().Replace("/future/x", 2), true, false, "", unknown},
		{"tests alone, that succeed", patch().Test(tokenpatch.PathName, "a"), false, true, "", applied},
		{"tests alone, of which one fails now", patch().Test(tokenpatch.PathName, "a"), false, false, `[{"op": "replace", "path": "/name", "value": "c"}]`, unknown},
		{"applied, then half of it was overwritten", patch().SetName("b").SetRole("writer"), true, true, `[{"op": "replace", "path": "/role", "value": "admin"}]`, unknown},
		{"no roles, as null", patch().SetCustomRoleIDs(), true, false, `[{"op": "remove", "path": "/customRoleIds"}]`, applied},
		{"no roles, which some are", patch().Remove(tokenpatch.PathCustomRoleIDs), true, false, `[{"op": "replace", "path": "/customRoleIds", "value": []}]`, applied},
		{"a policy for none", patch().SetInlineRole(), true, true, `[{"op": "remove", "path": "/inlineRole"}]`, applied},
		{"a move", patch().Move(tokenpatch.PathName, tokenpatch.PathDescription), true, true, "", applied},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			service, client := newPair(t)
			service.SetOptions(tokenpatchtest.Options{Members: []string{"future"}})
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

// A late patch is unknown, 'not applied so far', until it is there.
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

// older returns a fault for so many reads: they return the token as it is now, whatever is written
// until then.
func older(service *tokenpatchtest.Service, times int) tokenpatchtest.Fault {
	document, _ := service.V2(idV2)
	isRead := func(r *http.Request) bool { return r.Method == http.MethodGet }
	return tokenpatchtest.Fault{Match: isRead, Times: times, Status: 200, Body: string(document)}
}

func setName(name string) func(*tokenpatch.Token) error {
	return func(token *tokenpatch.Token) error {
		token.Name = tokenpatch.Set(name)
		return nil
	}
}

// Edits one after the other, whose reads are often older than the edit before.
func TestEditTokenBehindAReplica(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		time.Sleep(time.Minute)
		service.SetOptions(tokenpatchtest.Options{ReplicaLag: 5 * time.Second})
		for i := range 10 {
			token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole(fmt.Sprint("role", i)))
			require.NoError(t, err)
			assert.Len(t, token.CustomRoleIDs.Or(nil), i+1)
		}
		assert.Equal(t, 10, service.Changes(idV2))
		assert.Greater(t, service.RequestCount(), 30, "some reads were older")
	})
}

// A read older than an earlier one does not end an edit: here it would show the token as desired.
func TestEditTokenDoesNotBelieveOlderReads(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		old := older(service, 3)
		writeAsOther(t, service, idV2, `[{"op": "replace", "path": "/name", "value": "other"}]`)
		calls := 0
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
			if calls++; calls == 1 {
				writeAsOther(t, service, idV2, `[{"op": "replace", "path": "/name", "value": "another"}]`)
				service.Inject(old)
			}
			return setName("before")(token)
		})
		require.NoError(t, err)
		assert.Equal(t, "before", token.Name.Or(""))
		now, _ := service.V2(idV2)
		assert.Contains(t, string(now), `"name":"before"`)
		assert.Equal(t, 3, service.Changes(idV2))
	})
}

// Reads that stay old settle nothing.
func TestEditTokenWhoseReadsStayOlder(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		old := older(service, -1)
		writeAsOther(t, service, idV2, `[{"op": "replace", "path": "/name", "value": "other"}]`)
		service.Inject(tokenpatchtest.Fault{Match: isChange, Cut: tokenpatchtest.CutAfter}, tokenpatchtest.Fault{}, old)
		start := time.Now()
		_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName("before"))
		assertOutcome(t, unknown, err)
		require.ErrorContains(t, err, "for 10s each read was older than an earlier one")
		assert.Less(t, time.Since(start), 15*time.Second)
	})
}

// A success whose response broke off is read until a read shows it.
func TestEditTokenReadsItsOwnChange(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{Match: isChange, Cut: tokenpatchtest.CutMiddle}, tokenpatchtest.Fault{}, older(service, 3))
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName("after"))
		require.NoError(t, err)
		assert.Equal(t, "after", token.Name.Or(""))
	})
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{Match: isChange, Cut: tokenpatchtest.CutMiddle}, tokenpatchtest.Fault{}, older(service, -1))
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName("after"))
		assertOutcome(t, applied, err)
		require.Error(t, err)
		assert.Nil(t, token, "no read has shown it")
	})
}

// On a connection that is out of step, a change gets the response to the read before it, without
// the change.
func TestChangesOutOfStep(t *testing.T) {
	outOfStep := tokenpatchtest.Fault{Match: isChange, OutOfStep: true}
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		before, err := client.V2.GetToken(t.Context(), idV2)
		require.NoError(t, err)
		service.Inject(outOfStep)
		_, err = client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().SetName("after").Guard(*before))
		assertOutcome(t, unknown, err)
		require.ErrorContains(t, err, "the response is the token as it was before the change")
	})
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(outOfStep)
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName("after"))
		require.NoError(t, err)
		assert.Equal(t, "after", token.Name.Or(""))
		assert.Equal(t, 1, service.Changes(idV2))
	})
}

// A service that stores the name without its blanks returns a token the guarded patch would change
// again. It is newer than the one before.
func TestEditTokenOfANameWithBlanks(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.SetOptions(tokenpatchtest.Options{Normalize: true})
		for i := range 2 {
			token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName(" before "))
			require.NoError(t, err)
			assert.Equal(t, "before", token.Name.Or(""))
			assert.Equal(t, i+1, service.Changes(idV2))
		}
	})
}

// A refusal whose read fails proves nothing: a gateway may have sent the change twice.
func TestEditTokenRefusedAndUnread(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{Match: isChange, Duplicate: true}, tokenpatchtest.Fault{}, tokenpatchtest.Fault{Times: -1, Status: 403})
		_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
		assert.Equal(t, 1, service.Changes(idV2))
		assertOutcome(t, unknown, err)
		assertAs[*tokenpatch.ForbiddenError](t, err)
		assertAs[*tokenpatch.PatchFailedError](t, err)
		require.ErrorContains(t, err, pathV2+": outcome unknown: 422 patch_failed: ")
		require.ErrorContains(t, err, pathV2+": 403 forbidden: ")
	})
}

// A 422 without a conflict is returned once the token has been unchanged for so long that no
// replica can be the reason.
func TestEditTokenReturnsARefusalThatIsNoConflict(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{Match: isChange, Times: -1, Status: 422, Body: `{"code": "patch_failed", "message": "no"}`})
		start := time.Now()
		_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName("new"))
		assertAs[*tokenpatch.PatchFailedError](t, err)
		assert.False(t, errors.As(err, new(*tokenpatch.EditConflictError)))
		assertOutcome(t, notApplied, err)
		assert.Equal(t, 10*time.Second, time.Since(start).Round(time.Second))
		assert.Equal(t, 1, strings.Count(fmt.Sprint(routes(service)), "change"))
	})
}

// A service that returns the roles in another order each time refuses the guard for the order
// alone: the guard is made again with the new order.
func TestEditTokenWhoseRolesChangeTheirOrder(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": ["a", "b"], "lastModified": 7}`))
		calls := 0
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
			if calls++; calls == 1 {
				require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "customRoleIds": ["b", "a"], "lastModified": 7}`))
			}
			return addRole("c")(token)
		})
		require.NoError(t, err)
		assert.Equal(t, []string{"b", "a", "c"}, token.CustomRoleIDs.Or(nil))
		assert.Equal(t, 2, calls)
	})
}

func TestEditTokenOfAServiceThatCannotTestLastModified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		service, client := newPair(t, retries(once), func(c *tokenpatch.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		service.SetOptions(tokenpatchtest.Options{RefuseLastModifiedTest: true})
		require.NoError(t, service.AddV2(`{"_id": "`+idV2+`", "name": "a"}`))
		start := time.Now()
		for _, role := range []string{"first", "second"} {
			token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole(role))
			require.NoError(t, err)
			assert.Contains(t, token.CustomRoleIDs.Or(nil), role)
			assert.Equal(t, 10*time.Second, time.Since(start).Round(time.Second), "the first edit alone finds out")
		}
		assert.Equal(t, 2, service.Changes(idV2))
		assert.Equal(t, 1, strings.Count(log.String(), "cannot test /lastModified"))

		// The other tests still guard: here the test of the roles.
		calls := 0
		token, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, func(token *tokenpatch.Token) error {
			if calls++; calls == 1 {
				writeAsOther(t, service, idV2, `[{"op": "add", "path": "/customRoleIds/-", "value": "other"}]`)
			}
			return addRole("third")(token)
		})
		require.NoError(t, err)
		assert.Equal(t, []string{"first", "second", "other", "third"}, token.CustomRoleIDs.Or(nil))
	})
}

// Without a covering test, a change with an unknown outcome is not sent again before a read.
func TestEditTokenWithoutAGuard(t *testing.T) {
	for _, cut := range []tokenpatchtest.Cut{tokenpatchtest.CutBefore, tokenpatchtest.CutAfter} {
		synctest.Test(t, func(t *testing.T) {
			service, client := newPair(t) // four attempts: none of them may follow blindly
			service.SetOptions(tokenpatchtest.Options{RefuseLastModifiedTest: true})
			require.NoError(t, service.AddV2(`{"_id": "`+idV2+`"}`))
			_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, setName("a"))
			require.NoError(t, err)
			sent := service.RequestCount()
			service.Inject(tokenpatchtest.Fault{Match: isChange, Cut: cut})
			_, err = client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
			require.NoError(t, err)
			assert.Equal(t, []string{"read OK", "change ", "read OK"}, routes(service)[sent:][:3])
			assert.Equal(t, 2, service.Changes(idV2))
		})
	}
}

// A refusal for another reason does not count against the service: tests of
// lastModified stay.
func TestEditTokenRefusedForAnotherReason(t *testing.T) {
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		service.Inject(tokenpatchtest.Fault{Match: isChange, Times: 2, Status: 422, Body: `{"code": "patch_failed", "message": "no such role"}`})
		_, err := client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("nonsense"))
		assertAs[*tokenpatch.PatchFailedError](t, err)
		_, err = client.V2.EditToken(t.Context(), idV2, tokenpatch.EditOptions{}, addRole("added"))
		require.NoError(t, err)
		requests := service.Requests()
		assert.Contains(t, string(requests[len(requests)-1].Body), `"/lastModified"`)
	})
}

// A read older than the caller's token settles nothing, even if it shows the patch applied.
func TestSettleDoesNotBelieveOlderReads(t *testing.T) {
	for stale, reads := range map[int]int{0: 1, 1: 2, 7: 8, 8: 8, 20: 8} {
		editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
			old := older(service, stale)
			writeAsOther(t, service, idV2, `[{"op": "replace", "path": "/name", "value": "other"}]`)
			before, err := client.V2.GetToken(t.Context(), idV2)
			require.NoError(t, err)
			if stale > 0 {
				service.Inject(old)
			}
			sent := service.RequestCount()
			outcome, token, err := client.V2.Settle(t.Context(), *before, tokenpatch.NewPatch().SetName("before"))
			require.NoError(t, err)
			assert.Equal(t, unknown, outcome)
			assert.Equal(t, reads, service.RequestCount()-sent)
			assert.NotNil(t, token)
		})
	}
	editInBubble(t, once, func(t *testing.T, service *tokenpatchtest.Service, client *tokenpatch.Client) {
		old := older(service, -1)
		writeAsOther(t, service, idV2, `[{"op": "replace", "path": "/name", "value": "other"}]`)
		before, err := client.V2.GetToken(t.Context(), idV2)
		require.NoError(t, err)
		service.Inject(old)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		outcome, _, err := client.V2.Settle(ctx, *before, tokenpatch.NewPatch().SetName("before"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, unknown, outcome)
	})
}
