package tokenpatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// statuses lists unsuccessful responses of both APIs, and how many attempts a call makes by
// default.
var statuses = []struct {
	status         int
	code           string // if the response has none
	v1, v2         string // the type; empty is *APIError itself
	outcome        tokenpatch.Outcome
	sentV1, sentV2 int
}{
	{202, "accepted", "", "", unknown, 4, 4},
	{207, "multi-status", "", "", unknown, 4, 4},
	{300, "multiple_choices", "", "", unknown, 1, 1},
	{301, "moved_permanently", "", "", unknown, 1, 1},
	{302, "found", "", "", unknown, 1, 1},
	{303, "see_other", "", "", unknown, 1, 1},
	{307, "temporary_redirect", "", "", notApplied, 1, 1},
	{308, "permanent_redirect", "", "", notApplied, 1, 1},
	{400, "bad_request", "InvalidRequest", "InvalidRequest", notApplied, 1, 1},
	{401, "unauthorized", "Unauthorized", "Unauthorized", notApplied, 1, 1},
	{402, "payment_required", "", "", notApplied, 1, 1},
	{403, "forbidden", "Forbidden", "Forbidden", notApplied, 1, 1},
	{404, "not_found", "NotFound", "NotFound", notApplied, 1, 1},
	{405, "method_not_allowed", "", "", notApplied, 1, 1},
	{408, "request_timeout", "", "", unknown, 4, 4},
	{409, "conflict", "Conflict", "Conflict", notApplied, 1, 4},
	{412, "precondition_failed", "", "", notApplied, 1, 1},
	{413, "request_entity_too_large", "", "", notApplied, 1, 1},
	{415, "unsupported_media_type", "", "", notApplied, 1, 1},
	{418, "i'm_a_teapot", "", "", notApplied, 1, 1},
	{422, "unprocessable_entity", "Validation", "PatchFailed", notApplied, 1, 1},
	{424, "failed_dependency", "", "", unknown, 1, 1},
	{429, "too_many_requests", "RateLimited", "RateLimited", notApplied, 100, 100},
	{419, "status_419", "", "", unknown, 1, 1},
	{460, "status_460", "", "", unknown, 1, 1},
	{499, "status_499", "", "", unknown, 1, 1},
	{500, "internal_server_error", "Server", "Server", unknown, 4, 4},
	{501, "not_implemented", "Server", "Server", unknown, 1, 1},
	{502, "bad_gateway", "Server", "Server", unknown, 4, 4},
	{503, "service_unavailable", "Server", "Server", unknown, 4, 4},
	{504, "gateway_timeout", "Server", "Server", unknown, 4, 4},
	{520, "status_520", "Server", "Server", unknown, 4, 4},
	{599, "status_599", "Server", "Server", unknown, 1, 1},
	{600, "status_600", "", "", unknown, 1, 1},
}

// Every status, for each API, with a response in the API's own shape.
func TestErrorOfEveryStatus(t *testing.T) {
	for _, s := range statuses {
		v1 := statusCase{api: apiV1, status: s.status, kind: s.v1, outcome: s.outcome, sent: s.sentV1,
			body: `{"detail": "What went wrong."}`, code: s.code}
		v2 := statusCase{api: apiV2, status: s.status, kind: s.v2, outcome: s.outcome, sent: s.sentV2,
			body: `{"code": "a_code", "message": "What went wrong.", "id": "93f6f2ae-0d2c-11ee-be56-0242ac120002"}`,
			code: "a_code", id: "93f6f2ae-0d2c-11ee-be56-0242ac120002"}
		t.Run(fmt.Sprintf("V1/%d", s.status), v1.run)
		t.Run(fmt.Sprintf("V2/%d", s.status), v2.run)
	}
}

type statusCase struct {
	api      api
	status   int
	body     string
	kind     string
	code, id string
	outcome  tokenpatch.Outcome
	sent     int
}

func (c statusCase) run(t *testing.T) { synctest.Test(t, c.bubble) }

func (c statusCase) bubble(t *testing.T) {
	service, client := newPair(t)
	service.Inject(tokenpatchtest.Fault{Status: c.status, Body: c.body, Times: -1})

	err := c.api.Call(t.Context(), client)

	want := []string{}
	if c.kind != "" {
		want = append(want, c.kind)
	}
	if c.outcome == unknown {
		want = append(want, "OutcomeUnknown")
	}
	assert.Equal(t, want, append([]string{}, typesOf(err)...))
	assertOutcome(t, c.outcome, err)

	message := "What went wrong."
	if c.status/100 == 3 {
		message = "redirect without a valid location, not followed"
	}
	body := []byte(c.body)
	if c.status/100 == 2 {
		body = nil // it may hold a token's value
	}
	got := assertAs[*tokenpatch.APIError](t, err)
	assert.Equal(t, tokenpatch.APIError{
		CallInfo: c.api.Info(), StatusCode: c.status, Code: c.code, Message: message, SupportID: c.id, Attempts: c.sent, Body: body, Err: c.err(),
	}, *got)
	assert.Equal(t, c.sent, service.RequestCount())
	assert.Zero(t, service.Changes(c.api.ID))
	assert.Equal(t, c.text(message), err.Error())
}

// err returns how a success deviates from the documentation; nil for other statuses.
func (c statusCase) err() error {
	if c.status/100 != 2 {
		return nil
	}
	return fmt.Errorf("the API documents %d for a success", map[string]int{"V1": 204, "V2": 200}[c.api.Name])
}

func (c statusCase) text(message string) string {
	text := fmt.Sprintf("%d %s: %s", c.status, c.code, message)
	if c.id != "" {
		text += " (support id " + c.id + ")"
	}
	if err := c.err(); err != nil {
		text += ": " + err.Error()
	}
	if c.sent > 1 {
		text += fmt.Sprintf(" (%d attempts)", c.sent)
	}
	if c.outcome == unknown {
		text = "outcome unknown: " + text
	}
	return "tokenpatch: PATCH " + c.api.Target() + ": " + text
}

// Responses in every other shape keep the status's type, and what can be read.
func TestErrorBodies(t *testing.T) {
	const shape = "unexpected response (application/json): "
	tests := []struct {
		name        string
		contentType string
		body        string
		code        string // empty for the status's own
		message     string
		id          string
	}{
		{name: "V2's own", body: `{"code":"forbidden_code","message":"Not you.","id":"abc"}`, code: "forbidden_code", message: "Not you.", id: "abc"},
		{name: "more members", body: `{"code":"c","message":"m","more":[1],"detail":{"a":1}}`, code: "c", message: "m"},
		{name: "no message", body: `{"code":"c"}`, code: "c", message: shape + `"{\"code\":\"c\"}"`},
		{name: "no code", body: `{"message":"m"}`, message: "m"},
		{name: "code a number", body: `{"code":7,"message":"m","id":"i"}`, message: "m", id: "i"},
		{name: "message a list", body: `{"code":"c","message":["m"],"id":"i"}`, code: "c", message: shape + `"{\"code\":\"c\",\"message\":[\"m\"],\"id\":\"i\"}"`, id: "i"},
		{name: "id a number", body: `{"code":"c","message":"m","id":7}`, code: "c", message: "m"},
		{name: "members null", body: `{"code":null,"message":null,"id":null,"detail":null}`, message: shape + `"{\"code\":null,\"message\":null,\"id\":null,\"detail\":null}"`},
		{name: "detail a text", body: `{"detail":"Not authenticated"}`, message: "Not authenticated"},
		{name: "detail an object", body: `{"detail":{"msg":"x"}}`, message: shape + `"{\"detail\":{\"msg\":\"x\"}}"`},
		{name: "detail a number", body: `{"detail":4}`, message: shape + `"{\"detail\":4}"`},
		{name: "detail an empty list", body: `{"detail":[]}`, message: shape + `"{\"detail\":[]}"`},
		{name: "detail a list", body: `{"detail":[{"loc":["body",0],"msg":"m","type":"t"}]}`, message: "body.0: m"},
		{name: "detail a list of texts", body: `{"detail":["m"]}`, message: shape + `"{\"detail\":[\"m\"]}"`},
		{name: "detail a list of null", body: `{"detail":[null]}`, message: shape + `"{\"detail\":[null]}"`},
		{name: "loc of another shape", body: `{"detail":[{"loc":5,"msg":"m","type":"t"}]}`, message: shape + `"{\"detail\":[{\"loc\":5,\"msg\":\"m\",\"type\":\"t\"}]}"`},
		{name: "an array", body: `[1,2]`, message: shape + `"[1,2]"`},
		{name: "null", body: `null`, message: shape + `"null"`},
		{name: "a string", body: `"no"`, message: shape + `"\"no\""`},
		{name: "an empty object", body: `{}`, message: shape + `"{}"`},
		{name: "truncated", contentType: "application/json", body: `{"code":"c","mess`, message: shape + `"{\"code\":\"c\",\"mess"`},
		{name: "empty", body: ``, message: "response without a body"},
		{name: "HTML", contentType: "text/html; charset=utf-8", body: "<html>\n403</html>", message: `unexpected response (text/html; charset=utf-8): "<html>\n403</html>"`},
		{name: "text", contentType: "text/plain", body: "no", message: `unexpected response (text/plain): "no"`},
		{name: "not UTF-8", contentType: "text/plain", body: "\xff\xfe", message: `unexpected response (text/plain): "\xff\xfe"`},
	}
	for _, a := range apis {
		for _, test := range tests {
			t.Run(a.Name+"/"+test.name, func(t *testing.T) {
				service, client := newPair(t)
				fault := tokenpatchtest.Fault{Status: 403, Body: test.body}
				if test.contentType != "" {
					fault.Header = http.Header{"Content-Type": {test.contentType}}
				}
				service.Inject(fault)

				err := a.Call(t.Context(), client)

				got := assertAs[*tokenpatch.ForbiddenError](t, err)
				if test.code == "" {
					test.code = "forbidden"
				}
				assert.Equal(t, test.code, got.Code)
				assert.Equal(t, test.message, got.Message)
				assert.Equal(t, test.id, got.SupportID)
				assert.Equal(t, test.body, string(got.Body))
				require.NoError(t, got.Err)
				assertOutcome(t, notApplied, err)
			})
		}
	}
}

// A validation error as FastAPI words it: loc mixes strings and integers.
func TestValidationErrorDetails(t *testing.T) {
	service, client := newPair(t)
	service.Inject(tokenpatchtest.Fault{Status: 422, Body: `{"detail": [
		{"type": "enum", "loc": ["body", "organization_role"], "msg": "Input should be 'ADMIN', 'MEMBER' or 'EXTERNAL'",
		 "input": "OWNER", "ctx": {"expected": "'ADMIN', 'MEMBER' or 'EXTERNAL'"}},
		{"loc": ["body", "roles", 0, "id"], "msg": "Field required", "type": "missing"},
		{"loc": [], "msg": "Somewhere", "type": "value_error", "input": null, "url": "https://errors.pydantic.dev"}
	]}`})

	err := updateName(t.Context(), client)

	got := assertAs[*tokenpatch.ValidationError](t, err)
	assert.Equal(t, []tokenpatch.ValidationDetail{
		{
			Loc: []any{"body", "organization_role"}, Msg: "Input should be 'ADMIN', 'MEMBER' or 'EXTERNAL'", Type: "enum",
			Input: json.RawMessage(`"OWNER"`), Ctx: json.RawMessage(`{"expected": "'ADMIN', 'MEMBER' or 'EXTERNAL'"}`),
		},
		{Loc: []any{"body", "roles", 0, "id"}, Msg: "Field required", Type: "missing"},
		{Msg: "Somewhere", Type: "value_error", Input: json.RawMessage(`null`)},
	}, got.Details)
	assert.Equal(t, "tokenpatch: PATCH "+apiV1.Target()+": 422 unprocessable_entity: "+
		"body.organization_role: Input should be 'ADMIN', 'MEMBER' or 'EXTERNAL'; body.roles.0.id: Field required; Somewhere", err.Error())
}

func TestValidationErrorWithoutDetails(t *testing.T) {
	for _, body := range []string{`{"detail": "No."}`, `{"detail": null}`, `{}`, `{"detail": [{"loc": {}}]}`, `{"detail": ["No."]}`, `<html>`, ``} {
		t.Run(body, func(t *testing.T) {
			service, client := newPair(t)
			service.Inject(tokenpatchtest.Fault{Status: 422, Body: body})
			err := updateName(t.Context(), client)
			assert.Empty(t, assertAs[*tokenpatch.ValidationError](t, err).Details)
		})
	}
}

func TestErrorBodyIsCut(t *testing.T) {
	const limit = 4 << 10
	for _, size := range []int{limit - 1, limit, limit + 1, 100 << 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			service, client := newPair(t)
			body := strings.Repeat("x", size)
			service.Inject(tokenpatchtest.Fault{Status: 404, Body: body})
			got := assertAs[*tokenpatch.NotFoundError](t, patchName(t.Context(), client))
			assert.Equal(t, body[:min(size, limit)], string(got.Body))
			assert.Less(t, len(got.Error()), 500)
		})
	}
}

// A code and a message are read from a body longer than its kept part.
func TestErrorBodyIsReadBeyondItsCut(t *testing.T) {
	service, client := newPair(t)
	padding, long := strings.Repeat("x", 8<<10), strings.Repeat("m", 2<<10)
	service.Inject(tokenpatchtest.Fault{Status: 400, Body: `{"padding": "` + padding + `", "code": "c", "message": "` + long + `"}`})
	got := assertAs[*tokenpatch.InvalidRequestError](t, patchName(t.Context(), client))
	assert.Equal(t, "c: "+long[:1<<10], got.Code+": "+got.Message)
}

// A refusal with a broken body is a refusal.
func TestErrorBodyBreaksOff(t *testing.T) {
	for _, a := range apis {
		t.Run(a.Name, func(t *testing.T) {
			service, client := newPair(t)
			service.Inject(tokenpatchtest.Fault{Status: 403, Body: `{"code":"c","message":"m"}`, Cut: tokenpatchtest.CutMiddle})
			err := a.Call(t.Context(), client)
			got := assertAs[*tokenpatch.ForbiddenError](t, err)
			assert.Equal(t, `{"code":"c","`, string(got.Body))
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			assert.Contains(t, err.Error(), "403 forbidden: unexpected response")
			assertOutcome(t, notApplied, err)
			assert.Equal(t, 1, service.RequestCount())
		})
	}
}

// A refusal with an endless body is a refusal.
func TestErrorBodyTooLong(t *testing.T) {
	service, client := newPair(t, func(c *tokenpatch.Config) { c.MaxResponseBytes = 8 })
	service.Inject(tokenpatchtest.Fault{Status: 403, Body: "123456789"})
	err := patchName(t.Context(), client)
	got := assertAs[*tokenpatch.ForbiddenError](t, err)
	assert.Equal(t, "12345678", string(got.Body))
	require.EqualError(t, got.Err, "the response body is longer than 8 bytes")
	assertOutcome(t, notApplied, err)
}

func TestErrorNamesRedirectTarget(t *testing.T) {
	tests := []struct{ name, location, want string }{
		{"another host", "https://user:secret@evil.example:8443/login?secret#secret", "redirect to evil.example:8443, not followed"},
		{"the same host", "/login?secret", "redirect within the same host, not followed"},
		{"no location", "", "redirect without a valid location, not followed"},
		{"no URL", "https://%zz/secret", "redirect without a valid location, not followed"},
	}
	for _, a := range apis {
		for _, status := range []int{301, 302, 303, 307, 308} {
			for _, test := range tests {
				t.Run(fmt.Sprintf("%s/%d/%s", a.Name, status, test.name), func(t *testing.T) {
					service, client := newPair(t)
					header := http.Header{"Location": {test.location}}
					if test.location == "" {
						header = nil
					}
					// The body's message does not hide the redirect's target.
					service.Inject(tokenpatchtest.Fault{Status: status, Header: header, Body: `{"message": "Moved"}`})

					err := a.Call(t.Context(), client)

					got := assertAs[*tokenpatch.APIError](t, err)
					assert.Equal(t, status, got.StatusCode)
					assert.Equal(t, test.want, got.Message)
					assert.NotContains(t, err.Error(), "secret")
					assertOutcome(t, outcomeOfRedirect(status), err)
					assert.Equal(t, 1, service.RequestCount(), "redirects are not followed")
				})
			}
		}
	}
}

// outcomeOfRedirect is the outcome of a redirect with this status: 307 and 308 ask for
// the same request elsewhere; a server may send the others once it has applied it.
func outcomeOfRedirect(status int) tokenpatch.Outcome {
	if status == 307 || status == 308 {
		return notApplied
	}
	return unknown
}

// An undocumented response that only the server can have made proves success: the error mentions
// it.
func TestSuccessThatCannotBeRead(t *testing.T) {
	tests := []struct {
		name   string
		api    api
		change func(*tokenpatch.Config)
		fault  tokenpatchtest.Fault
		status int
		cause  string
	}{
		{"truncated", apiV2, nil, tokenpatchtest.Fault{Status: 200, Body: tokenJSON[:99], Apply: true}, 200, "unexpected end of JSON input"},
		{"another type", apiV2, nil, tokenpatchtest.Fault{Status: 200, Body: `{"_id": "` + idV2 + `", "name": 5}`, Apply: true}, 200, "name: want a string, got a number"},
		{"too long", apiV2, func(c *tokenpatch.Config) { c.MaxResponseBytes = 512 }, tokenpatchtest.Fault{}, 200, "the response body is longer than 512 bytes"},
		{"cut in the middle", apiV2, nil, tokenpatchtest.Fault{Cut: tokenpatchtest.CutMiddle}, 200, "unexpected EOF"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.change == nil {
				test.change = func(*tokenpatch.Config) {}
			}
			service, client := newPair(t, test.change)
			service.Inject(test.fault)

			err := test.api.Call(t.Context(), client)

			got := assertAs[*tokenpatch.APIError](t, err)
			assert.Equal(t, test.status, got.StatusCode)
			assert.Equal(t, "the change was applied, but the response is not as documented", got.Message)
			assert.Nil(t, got.Body, "it may hold a token's value")
			assert.Equal(t, 1, got.Attempts)
			require.Error(t, got.Err)
			assert.Contains(t, got.Err.Error(), test.cause)
			assert.Contains(t, err.Error(), test.cause)
			assertOutcome(t, applied, err)
			assert.Equal(t, 1, service.RequestCount())
			assert.Equal(t, 1, service.Changes(test.api.ID))
		})
	}
}

// A 2xx response that a proxy can have made proves nothing: the request is sent again if this is
// harmless, and the outcome is unknown.
func TestSuccessThatProvesNothing(t *testing.T) {
	const wantV1, wantV2 = "the API documents 204 for a success", "the API documents 200 for a success"
	tests := []struct {
		name   string
		api    api
		status int
		body   string
		cause  string
	}{
		{"V1 HTML", apiV1, 200, "<html>", wantV1},
		{"V1 error", apiV1, 200, `{"detail": "Not authenticated"}`, wantV1},
		{"V1 error in a list", apiV1, 201, `{"detail": [{"loc": ["body"], "msg": "m", "type": "t"}]}`, wantV1},
		{"V1 V2's error", apiV1, 200, `{"code": "c", "message": "m"}`, wantV1},
		{"V1 broken JSON", apiV1, 200, `{"name": "c`, wantV1},
		{"V1 200", apiV1, 200, "", wantV1},
		{"V1 a login page of JSON", apiV1, 200, `{"error":"session expired"}`, wantV1},
		{"V1 null", apiV1, 200, "null", wantV1},
		{"V1 false", apiV1, 200, "false", wantV1},
		{"V1 a text", apiV1, 200, `"please sign in"`, wantV1},
		{"V1 201", apiV1, 201, `{"name": "ci"}`, wantV1},
		{"V1 202", apiV1, 202, "", wantV1},
		{"V1 206", apiV1, 206, "", wantV1},
		{"V1 207", apiV1, 207, "", wantV1},
		{"202", apiV2, 202, tokenJSON, wantV2},
		{"204", apiV2, 204, "", wantV2},
		{"206", apiV2, 206, tokenJSON, wantV2},
		{"207", apiV2, 207, tokenJSON, wantV2},
		{"HTML", apiV2, 200, "<html>", "invalid character '<' looking for beginning of value"},
		{"empty", apiV2, 200, "", "unexpected end of JSON input"},
		{"blank", apiV2, 200, "\n", "unexpected end of JSON input"},
		{"null", apiV2, 200, "null", "the response is not a token: it has no _id"},
		{"an empty object", apiV2, 200, "{}", "the response is not a token: it has no _id"},
		{"another object", apiV2, 200, `{"status": "ok"}`, "the response is not a token: it has no _id"},
		{"an error", apiV2, 200, `{"code": "unauthorized", "message": "Who are you?"}`, "the response is not a token: it has no _id"},
		{"V1's error", apiV2, 200, `{"detail": "Not authenticated"}`, "the response is not a token: it has no _id"},
		{"an array", apiV2, 200, "[]", "want an object, got an array"},
		{"a text", apiV2, 200, `"{"`, "want an object, got a string"},
		{"an id of another type", apiV2, 200, `{"_id": 5}`, "_id: want a string, got a number"},
		{"another token", apiV2, 200, `{"_id": "61095542756dba551110ae22"}`, "the response is another token"},
		{"an id of something else", apiV2, 200, `{"error": {"_id": "` + idV2 + `"}}`, "the response is not a token: it has no _id"},
		{"an id of something else, broken off", apiV2, 200, `{"error": {"_id": "` + idV2 + `"}, "a`, "unexpected end of JSON input"},
		{"another token, broken off", apiV2, 200, `{"_id": "61095542756dba551110ae22", "name": "a`, "unexpected end of JSON input"},
		{"two ids, broken off", apiV2, 200, `{"_id": "` + idV2 + `", "_id": "x", "name": "a`, "unexpected end of JSON input"},
		{"broken off before the id", apiV2, 200, `{"name": "a", "_id": "` + idV2, "unexpected end of JSON input"},
		{"braces", apiV2, 200, "{}}", "invalid character '}' after top-level value"},
		{"a script", apiV2, 200, "{ x: 1 }", "invalid character 'x' looking for beginning of object key string"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
					_, _ = io.Copy(io.Discard, r.Body)
					return respond(test.status, "application/json", test.body), nil
				}))
				calls := map[int]func(context.Context, *tokenpatch.Client) error{4: test.api.Call}
				if test.api.Name == "V2" {
					calls[1] = appendRole
				}
				for attempts, call := range calls {
					err := call(t.Context(), client)
					got := assertAs[*tokenpatch.APIError](t, err)
					assert.Equal(t, []string{"OutcomeUnknown"}, typesOf(err))
					assertOutcome(t, unknown, err)
					assert.Equal(t, test.status, got.StatusCode)
					assert.Equal(t, attempts, got.Attempts)
					assert.Nil(t, got.Body, "it may hold a token's value")
					assert.ErrorContains(t, got.Err, test.cause)
				}
			})
		})
	}
}

// A cut token proves success once its own _id is there, and no earlier.
func TestSuccessCutAnywhere(t *testing.T) {
	const before, behind = `{"name": "ci", "_member": {"_id": "` + idV2 + `"}, "_id": "`, `", "role": "reader", "_links": {}}`
	body := before + strings.ToUpper(idV2) + behind
	for length := range len(body) {
		_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, r.Body)
			return respond(200, "application/json", body[:length]), nil
		}))
		want := unknown
		if length > len(before)+len(idV2) {
			want = applied
		}
		err := appendRole(t.Context(), client)
		require.Error(t, err)
		assertOutcome(t, want, err)
	}
}

func TestSuccessOfExactlyTheLimit(t *testing.T) {
	const body = `{"_id": "` + idV2 + `"}`
	service, client := newPair(t, func(c *tokenpatch.Config) { c.MaxResponseBytes = int64(len(body)) })
	service.Inject(tokenpatchtest.Fault{Status: 200, Body: body, Apply: true})
	token, err := client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().SetName("x"))
	require.NoError(t, err)
	assert.Equal(t, idV2, token.ID)
}

// A server can respond with a status below 100. net/http lets it pass.
func TestErrorOfStatusBelow100(t *testing.T) {
	for _, a := range apis {
		for _, status := range []int{0, 1, 99} {
			t.Run(fmt.Sprintf("%s/%d", a.Name, status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					_, client := newPair(t, through(func(*http.Request) (*http.Response, error) {
						return respond(status, "text/plain", "?"), nil
					}))
					err := a.Call(t.Context(), client)
					assertOutcome(t, unknown, err)
					require.Error(t, assertAs[*tokenpatch.OutcomeUnknownError](t, err).Err)
					assert.NotEmpty(t, err.Error())
				})
			})
		}
	}
}

// A transport that breaks its contract does not break the client.
func TestErrorOfBrokenTransport(t *testing.T) {
	tests := []struct {
		name string
		send roundTripper
		want string
	}{
		{"neither response nor error", func(*http.Request) (*http.Response, error) { return nil, nil }, "neither a response nor an error"},
		{"both", func(*http.Request) (*http.Response, error) { return respond(200, "", "{}"), io.ErrClosedPipe }, "closed pipe"},
		{"no body", func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusInternalServerError}, nil
		}, "response without a body"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, client := newPair(t, through(func(r *http.Request) (*http.Response, error) {
				_, _ = io.Copy(io.Discard, r.Body)
				return test.send(r)
			}), retries(tokenpatch.RetryPolicy{MaxAttempts: 1}))
			err := patchName(t.Context(), client)
			assertAs[*tokenpatch.OutcomeUnknownError](t, err)
			assert.Contains(t, err.Error(), test.want)
			assertOutcome(t, unknown, err)
		})
	}
}

func TestOutcomeOf(t *testing.T) {
	forbidden := &tokenpatch.ForbiddenError{APIError: tokenpatch.APIError{StatusCode: 403}}
	tests := []struct {
		name string
		err  error
		want tokenpatch.Outcome
	}{
		{"nil", nil, applied},
		{"an error from elsewhere", io.EOF, unknown},
		{"a context's end", context.Canceled, unknown},
		{"a refusal", forbidden, notApplied},
		{"a refusal, wrapped", fmt.Errorf("renaming: %w", forbidden), notApplied},
		{"a refusal among others", errors.Join(io.EOF, forbidden), notApplied},
		{"a refusal after an unknown outcome", &tokenpatch.OutcomeUnknownError{Err: forbidden}, unknown},
		{"nothing sent", &tokenpatch.NotSentError{Err: io.EOF}, notApplied},
		{"a wrong input", &tokenpatch.InputError{}, notApplied},
		{"a wrong patch", &tokenpatch.PatchError{Err: io.EOF}, notApplied},
		{"a success that could not be read", &tokenpatch.APIError{StatusCode: 200}, applied},
		{"a success of a proxy", &tokenpatch.APIError{StatusCode: 202}, unknown},
		{"a redirect that came after the change", &tokenpatch.APIError{StatusCode: 303}, unknown},
		{"a read without a response", &tokenpatch.ReadError{Err: io.EOF}, notApplied},
		{"a read that failed", &tokenpatch.ServerError{APIError: tokenpatch.APIError{CallInfo: tokenpatch.CallInfo{Method: "GET"}, StatusCode: 500}}, notApplied},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { assertOutcome(t, test.want, test.err) })
	}
}

// The outcome of joined errors does not depend on their order, nor on how they are nested.
func TestOutcomeOfJoinedErrors(t *testing.T) {
	elsewhere := io.EOF
	refused := error(&tokenpatch.ForbiddenError{APIError: tokenpatch.APIError{StatusCode: 403}})
	done := error(&tokenpatch.APIError{StatusCode: 200})
	maybe := error(&tokenpatch.OutcomeUnknownError{Err: refused})
	for _, test := range []struct {
		errs []error
		want tokenpatch.Outcome
	}{
		{[]error{elsewhere, elsewhere}, unknown},
		{[]error{elsewhere, refused}, notApplied},
		{[]error{elsewhere, done}, applied},
		{[]error{refused, refused}, notApplied},
		{[]error{done, done}, applied},
		{[]error{refused, done}, unknown},
		{[]error{refused, maybe}, unknown},
		{[]error{done, maybe}, unknown},
		{[]error{elsewhere, maybe}, unknown},
		{[]error{refused, elsewhere, done}, unknown},
	} {
		forward, backward := slices.Clone(test.errs), slices.Clone(test.errs)
		slices.Reverse(backward)
		for _, errs := range [][]error{forward, backward} {
			assertOutcome(t, test.want, errors.Join(errs...))
			assertOutcome(t, test.want, fmt.Errorf("batch: %w and %w", errs[0], errors.Join(errs[1:]...)))
			assertOutcome(t, test.want, fmt.Errorf("run: %w", errors.Join(errors.Join(errs...), elsewhere)))
		}
	}
}

func TestOutcomeText(t *testing.T) {
	for outcome, text := range map[tokenpatch.Outcome]string{applied: `"applied"`, notApplied: `"not_applied"`, unknown: `"unknown"`, 7: `"unknown"`} {
		encoded, err := json.Marshal(outcome)
		require.NoError(t, err)
		assert.Equal(t, text, string(encoded))
		var decoded tokenpatch.Outcome
		require.NoError(t, json.Unmarshal(encoded, &decoded))
		assert.Equal(t, outcome.String(), decoded.String())
	}
	for _, text := range []string{`""`, `"not applied"`, `"APPLIED"`, `"` + strings.Repeat("x", 1000) + `"`} {
		decoded := applied
		err := json.Unmarshal([]byte(text), &decoded)
		assert.ErrorContains(t, err, ": want applied, not_applied or unknown")
		assert.Less(t, len(err.Error()), 200)
		assert.Equal(t, applied, decoded, "what cannot be read changes nothing")
	}
	var decoded tokenpatch.Outcome
	assert.ErrorContains(t, decoded.UnmarshalText([]byte(strings.Repeat("\x80", 100))), "want applied", "text that is not UTF-8")
}

func TestOutcomeString(t *testing.T) {
	assert.Equal(t, "applied", applied.String())
	assert.Equal(t, "not applied", notApplied.String())
	assert.Equal(t, "unknown", unknown.String())
	assert.Equal(t, "unknown", tokenpatch.Outcome(7).String())
	assert.Equal(t, unknown, tokenpatch.Outcome(0), "the zero value promises nothing")
}

// Errors made in tests of programs, with few fields set, print too.
func TestErrorsOfZeroValuePrint(t *testing.T) {
	for _, err := range []error{
		&tokenpatch.APIError{}, &tokenpatch.RateLimitedError{}, &tokenpatch.OutcomeUnknownError{},
		&tokenpatch.NotSentError{}, &tokenpatch.InputError{}, &tokenpatch.PatchError{},
	} {
		assert.NotPanics(t, func() { assert.Contains(t, err.Error(), "tokenpatch: ") }, "%T", err)
	}
}

func TestValidationDetailUnmarshalJSON(t *testing.T) {
	for _, body := range []string{`[]`, `"text"`, `{"loc": 5}`, `{"loc": [1.5]}`, `{"loc": [{}]}`, `{"loc": [null]}`, `{"msg": 5}`} {
		var d tokenpatch.ValidationDetail
		require.Error(t, json.Unmarshal([]byte(body), &d), body)
	}
}

// Servers echo what they were sent. No credential gets into an error by way of
// a response, wherever the server put it.
func TestErrorsHoldNoCredential(t *testing.T) {
	const secret = "5ecret-a&b<c>-5ecret"
	escaped, err := json.Marshal(secret) // as a server in Go echoes it
	require.NoError(t, err)
	bodies := map[string]string{
		"message":  `{"code":"` + secret + `","message":"bad ` + secret + `","id":"` + secret + `"}`,
		"detail":   `{"detail":"bad ` + secret + `"}`,
		"details":  `{"detail":[{"loc":["header","` + secret + `"],"msg":"bad ` + secret + `","type":"t","input":"` + secret + `","ctx":{"a":"` + secret + `"}}]}`,
		"escaped":  `{"code":` + string(escaped) + `,"message":` + string(escaped) + `,"id":` + string(escaped) + `}`,
		"escapes":  `{"detail":[{"loc":[` + string(escaped) + `],"msg":` + string(escaped) + `,"type":"t","input":` + string(escaped) + `}]}`,
		"HTML":     "<html>" + secret,
		"long":     strings.Repeat("x", 4090) + secret,
		"_id":      `{"_id": 5, "token": "` + secret + `"}`,
		"location": "",
	}
	for _, a := range apis {
		for _, status := range []int{200, 202, 302, 403, 422, 503} {
			for name, body := range bodies {
				t.Run(fmt.Sprintf("%s/%d/%s", a.Name, status, name), func(t *testing.T) {
					_, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1}),
						func(c *tokenpatch.Config) { c.V1.APIKey, c.V2.AccessToken = secret, secret },
						through(func(r *http.Request) (*http.Response, error) {
							assert.Contains(t, r.Header.Get("Authorization"), secret)
							response := respond(status, "text/"+secret, body)
							response.Header.Set("Location", "https://"+secret+".example/"+secret)
							return response, nil
						}))
					err := a.Call(t.Context(), client)
					require.Error(t, err)
					assertHolds(t, err, "5ecret", false)
				})
			}
		}
	}
}

// A credential that a function supplies is known in the call that it is for.
func TestErrorsHoldNoSuppliedCredential(t *testing.T) {
	const secret = "5ecret-supplied-5ecret"
	for _, a := range apis {
		for _, body := range []string{`{"code":"c","message":"bad ` + secret + `"}`, ""} {
			_, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1}), func(c *tokenpatch.Config) {
				supply := func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return secret, nil }
				c.V1, c.V2 = tokenpatch.V1Config{APIKeyFunc: supply}, tokenpatch.V2Config{AccessTokenFunc: supply}
			}, through(func(*http.Request) (*http.Response, error) {
				if body == "" {
					return nil, errors.New("bad " + secret)
				}
				return respond(403, "application/json", body), nil
			}))
			err := a.Call(t.Context(), client)
			require.ErrorContains(t, err, "bad")
			assertHolds(t, err, "5ecret", false)
		}
	}
}

// An id that turns out to be a credential only when a function supplies that is not shown either.
func TestErrorsHoldNoCredentialAsAnID(t *testing.T) {
	const secret = "5ecret-supplied-5ecret"
	newClient := func(status int, body string) *tokenpatch.Client {
		_, client := newPair(t, func(c *tokenpatch.Config) {
			c.V2 = tokenpatch.V2Config{AccessTokenFunc: func(context.Context, tokenpatch.Secret) (tokenpatch.Secret, error) { return secret, nil }}
			c.Hooks.AttemptEnd = func(_ context.Context, a tokenpatch.AttemptResult) { assert.NotContains(t, fmt.Sprint(a), "5ecret") }
		}, through(func(*http.Request) (*http.Response, error) { return respond(status, "application/json", body), nil }))
		return client
	}
	_, err := newClient(404, `{"code":"not_found","message":"no"}`).V2.PatchToken(t.Context(), secret, tokenpatch.NewPatch().SetName("ci"))
	require.ErrorContains(t, err, "404")
	assertHolds(t, err, "5ecret", false)
	client := newClient(200, `{"_id":"`+secret+`","name":"ci"}`)
	_, err = client.V2.EditToken(t.Context(), secret, tokenpatch.EditOptions{}, func(*tokenpatch.Token) error { return errors.New("no") })
	require.ErrorContains(t, err, "edit: no")
	assertHolds(t, err, "5ecret", false)
}

// The transport's own errors can quote what a server sent.
func TestTransportErrorsHoldNoCredential(t *testing.T) {
	_, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1}), through(func(r *http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("malformed HTTP status code %q", r.Header.Get("Authorization"))
	}))
	for _, a := range apis {
		err := a.Call(t.Context(), client)
		assert.Contains(t, err.Error(), "malformed HTTP status code")
		assertHolds(t, err, tokenpatchtest.APIKey, false)
		assertHolds(t, err, tokenpatchtest.AccessToken, false)
	}
}

// assertHolds looks for a text in everything a program may print of an error.
func assertHolds(t *testing.T, err error, text string, want bool) {
	t.Helper()
	held := fmt.Sprintf("%v\n%+v\n%#v\n%q", err, err, err, err)
	var api *tokenpatch.APIError
	if errors.As(err, &api) {
		held += fmt.Sprintf("%s\n%+v\n%#v", api.Body, *api, *api)
	}
	var validation *tokenpatch.ValidationError
	if errors.As(err, &validation) {
		held += fmt.Sprintf("%+v\n%s", validation.Details, validation.Details)
		for _, d := range validation.Details {
			held += string(d.Input) + string(d.Ctx) + fmt.Sprint(d.Loc...)
		}
	}
	if encoded, err := json.Marshal(err); err == nil {
		held += string(encoded)
	}
	assert.Equal(t, want, strings.Contains(held, text), held)
}

// Whatever responds, the error has its status's type, and no part panics.
func FuzzErrorBody(f *testing.F) {
	for _, s := range statuses {
		f.Add(s.status, "application/json", []byte(`{"code":"c","message":"m","id":"i"}`))
		f.Add(s.status, "application/json", []byte(`{"detail":[{"loc":["body",0],"msg":"m","type":"t","input":1,"ctx":{}}]}`))
		f.Add(s.status, "text/html", []byte(`<html>`))
	}
	for _, body := range []string{``, `null`, `[]`, `{"code":7}`, `{"detail":null}`, `{"detail":[null]}`, `{"detail":[{"loc":5}]}`, `{"detail`, tokenJSON} {
		f.Add(200, "application/json", []byte(body))
		f.Add(422, "application/json", []byte(body))
	}
	f.Add(0, "", []byte(nil))
	f.Add(-1, "", []byte(nil))
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		client, err := tokenpatch.NewClient(tokenpatch.Config{
			V1: tokenpatch.V1Config{APIKey: "key"}, V2: tokenpatch.V2Config{AccessToken: "token"},
			Retry: tokenpatch.RetryPolicy{MaxAttempts: 1, MaxRateLimitWait: time.Nanosecond},
			HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				return respond(status, contentType, string(body)), nil
			})},
		})
		require.NoError(t, err)
		err = client.V1.UpdateToken(t.Context(), uuid.MustParse(idV1), tokenpatch.TokenUpdate{Personal: tokenpatch.Set(true)})
		checkFuzzed(t, status, 204, err, map[int]string{422: "Validation"})
		_, err = client.V2.PatchToken(t.Context(), idV2, tokenpatch.NewPatch().AddCustomRoleID("qa"))
		checkFuzzed(t, status, 200, err, map[int]string{422: "PatchFailed"})
	})
}

func checkFuzzed(t *testing.T, status, success int, err error, own map[int]string) {
	t.Helper()
	if status == success && err == nil {
		return
	}
	require.Error(t, err)
	require.NotEmpty(t, err.Error())
	want := map[int]string{400: "InvalidRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 409: "Conflict", 422: own[422], 429: "RateLimited"}[status]
	if status >= 500 && status <= 599 {
		want = "Server"
	}
	var api *tokenpatch.APIError
	switch {
	case want != "":
		require.Equal(t, want, typesOf(err)[0])
	case status >= 100:
		require.ErrorAs(t, err, &api)
	}
	if errors.As(err, &api) {
		require.Equal(t, status, api.StatusCode)
		require.LessOrEqual(t, len(api.Body), 4<<10)
	}
}

// A program may make an error of a status by itself, as its tests do.
func TestErrorsWithoutAStatus(t *testing.T) {
	for _, test := range []struct {
		err     error
		text    string
		outcome tokenpatch.Outcome
	}{
		{&tokenpatch.InvalidRequestError{}, "400 bad_request", notApplied},
		{&tokenpatch.UnauthorizedError{}, "401 unauthorized", notApplied},
		{&tokenpatch.ForbiddenError{}, "403 forbidden", notApplied},
		{&tokenpatch.NotFoundError{}, "404 not_found", notApplied},
		{&tokenpatch.ConflictError{}, "409 conflict", notApplied},
		{&tokenpatch.ValidationError{}, "422 unprocessable_entity", notApplied},
		{&tokenpatch.PatchFailedError{}, "422 unprocessable_entity", notApplied},
		{&tokenpatch.RateLimitedError{}, "429 too_many_requests", notApplied},
		{&tokenpatch.ServerError{}, "500 internal_server_error", unknown},
	} {
		require.EqualError(t, test.err, "tokenpatch: "+test.text)
		assertOutcome(t, test.outcome, test.err)
		assertOutcome(t, test.outcome, fmt.Errorf("wrapped: %w", test.err))
	}
}

// An error in a log, and as JSON.
func TestErrorsInLogsAndJSON(t *testing.T) {
	service, client := newPair(t, retries(tokenpatch.RetryPolicy{MaxAttempts: 1}))
	service.Inject(
		tokenpatchtest.Fault{Status: 403, Body: `{"code":"forbidden","message":"Not you.","id":"93f6f2ae"}`},
		tokenpatchtest.Fault{Status: 503, Body: `{"code":"down","message":"Later.","id":"93f6f2af"}`},
	)
	refused, failed := patchName(t.Context(), client), patchName(t.Context(), client)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		err  error
		want map[string]any
	}{
		{refused, map[string]any{"status": 403.0, "code": "forbidden", "support_id": "93f6f2ae", "attempts": 1.0, "outcome": "not_applied"}},
		{failed, map[string]any{"status": 503.0, "code": "down", "support_id": "93f6f2af", "attempts": 1.0, "outcome": "unknown"}},
		{patchName(ctx, client), map[string]any{"outcome": "not_applied"}},
	} {
		test.want["error"], test.want["api"], test.want["host"] = test.err.Error(), "V2", apiV2.Host()
		test.want["method"], test.want["route"], test.want["token_id"] = "PATCH", "/api/v2/tokens/{id}", idV2
		var logged bytes.Buffer
		slog.New(slog.NewJSONHandler(&logged, nil)).Error("failed", "error", test.err)
		var line struct{ Error map[string]any }
		require.NoError(t, json.Unmarshal(logged.Bytes(), &line))
		assert.Equal(t, test.want, line.Error)

		encoded, err := json.Marshal(test.err)
		require.NoError(t, err)
		var object map[string]any
		require.NoError(t, json.Unmarshal(encoded, &object))
		assert.Equal(t, test.want, object)
	}
}
