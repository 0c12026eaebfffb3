package tokenpatchtest_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestV1TellsAbsentNullAndSetApart(t *testing.T) {
	service, client := newService(t)
	update := func(body string) string {
		t.Helper()
		r := send(t, client, "http://a"+v1Path, body)
		require.Equal(t, 204, r.status, r.body)
		assert.Empty(t, r.body)
		assert.Empty(t, r.header.Get("Content-Type"))
		token, found := service.V1(v1ID)
		require.True(t, found)
		return string(token)
	}

	update(`{"personal": false, "role_id": "00000000-0000-0000-0000-00000000000A"}`)
	token, _ := service.V1(v1ID)
	assert.JSONEq(t, `{"id": "`+v1ID+`", "name": "before", "organization_role": "MEMBER", "personal": false,
		"role_id": "00000000-0000-0000-0000-00000000000a"}`, string(token), "absent leaves it")

	before := update(`{"name": "", "organization_role": null, "personal": null, "role_id": null}`)
	assert.JSONEq(t, `{"id": "`+v1ID+`", "name": "", "organization_role": null, "personal": null, "role_id": null}`, before)

	assert.Equal(t, before, update(`{}`))
	assert.Equal(t, 3, service.Changes(v1ID))
}

func TestV1IDInCapitals(t *testing.T) {
	service, client := newService(t)
	r := send(t, client, "http://a/api/v1/token/3FA85F64-5717-4562-B3FC-2C963F66AFA6", `{"name": "after"}`)
	assert.Equal(t, 204, r.status)
	assert.Equal(t, 1, service.Changes(v1ID))
}

func TestV1RefusesWrongUpdates(t *testing.T) {
	service, client := newService(t)
	roles := `"msg": "Input should be 'ADMIN', 'MEMBER' or 'EXTERNAL'", "ctx": {"expected": "'ADMIN', 'MEMBER' or 'EXTERNAL'"}`
	tests := []struct{ name, path, body, detail string }{
		{"no body", v1Path, ``, `{"type": "missing", "loc": ["body"], "msg": "Field required", "input": null}`},
		{"array", v1Path, `[1]`, `{"type": "model_attributes_type", "loc": ["body"], "input": [1],
			"msg": "Input should be a valid dictionary or object to extract fields from"}`},
		{"null", v1Path, `null`, `{"type": "model_attributes_type", "loc": ["body"], "input": null,
			"msg": "Input should be a valid dictionary or object to extract fields from"}`},
		{"broken", v1Path, `{"name" 1}`, `{"type": "json_invalid", "loc": ["body", 9], "msg": "JSON decode error", "input": {},
			"ctx": {"error": "invalid character '1' after object key"}}`},
		{"two values", v1Path, `{} {}`, `{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error", "input": {},
			"ctx": {"error": "there is more than one JSON value"}}`},
		{"name twice", v1Path, `{"name": "a", "name": "b"}`, `{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error",
			"input": {}, "ctx": {"error": "\"name\" occurs twice in one object"}}`},
		{"not UTF-8", v1Path, "{\"name\": \"\xff\"}", `{"type": "json_invalid", "loc": ["body", 0], "msg": "JSON decode error",
			"input": {}, "ctx": {"error": "the text is not UTF-8"}}`},
		{"name", v1Path, `{"name": 1}`, `{"type": "string_type", "loc": ["body", "name"], "msg": "Input should be a valid string", "input": 1}`},
		{"role", v1Path, `{"organization_role": "admin"}`, `{"type": "enum", "loc": ["body", "organization_role"], "input": "admin", ` + roles + `}`},
		{"role of another type", v1Path, `{"organization_role": 1}`, `{"type": "enum", "loc": ["body", "organization_role"], "input": 1, ` + roles + `}`},
		{"personal text", v1Path, `{"personal": "true"}`, `{"type": "bool_parsing", "loc": ["body", "personal"], "input": "true",
			"msg": "Input should be a valid boolean, unable to interpret input"}`},
		{"personal number", v1Path, `{"personal": 1}`, `{"type": "bool_parsing", "loc": ["body", "personal"], "input": 1,
			"msg": "Input should be a valid boolean, unable to interpret input"}`},
		{"personal object", v1Path, `{"personal": {}}`, `{"type": "bool_type", "loc": ["body", "personal"], "input": {},
			"msg": "Input should be a valid boolean"}`},
		{"role_id", v1Path, `{"role_id": "x"}`, `{"type": "uuid_parsing", "loc": ["body", "role_id"], "input": "x",
			"msg": "Input should be a valid UUID, invalid UUID length: 1", "ctx": {"error": "invalid UUID length: 1"}}`},
		{"role_id in braces", v1Path, `{"role_id": "{3fa85f64-5717-4562-b3fc-2c963f66afa6}"}`, `{"type": "uuid_parsing",
			"loc": ["body", "role_id"], "input": "{3fa85f64-5717-4562-b3fc-2c963f66afa6}",
			"msg": "Input should be a valid UUID, invalid length: expected 36 characters, found 38",
			"ctx": {"error": "invalid length: expected 36 characters, found 38"}}`},
		{"role_id number", v1Path, `{"role_id": 1}`, `{"type": "uuid_type", "loc": ["body", "role_id"], "input": 1,
			"msg": "UUID input should be a string, bytes or UUID object"}`},
		{"unknown", v1Path, `{"Name": null}`, `{"type": "extra_forbidden", "loc": ["body", "Name"], "input": null,
			"msg": "Extra inputs are not permitted"}`},
		{"id", "/api/v1/token/x", `{}`, `{"type": "uuid_parsing", "loc": ["path", "api_token_id"], "input": "x",
			"msg": "Input should be a valid UUID, invalid UUID length: 1", "ctx": {"error": "invalid UUID length: 1"}}`},
		{"everything", "/api/v1/token/x", `{"b": 1, "name": [], "a": {}, "personal": []}`,
			`{"type": "uuid_parsing", "loc": ["path", "api_token_id"], "input": "x",
			"msg": "Input should be a valid UUID, invalid UUID length: 1", "ctx": {"error": "invalid UUID length: 1"}},
			{"type": "string_type", "loc": ["body", "name"], "msg": "Input should be a valid string", "input": []},
			{"type": "bool_type", "loc": ["body", "personal"], "msg": "Input should be a valid boolean", "input": []},
			{"type": "extra_forbidden", "loc": ["body", "a"], "msg": "Extra inputs are not permitted", "input": {}},
			{"type": "extra_forbidden", "loc": ["body", "b"], "msg": "Extra inputs are not permitted", "input": 1}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := send(t, client, "http://a"+test.path, test.body)
			assert.Equal(t, 422, r.status)
			assert.JSONEq(t, `{"detail": [`+test.detail+`]}`, r.body)
		})
	}
	assert.Zero(t, service.Changes(v1ID))
}

func TestAddV1RefusesWrongDocuments(t *testing.T) {
	service, _ := newService(t)
	for wrong, want := range map[string]string{
		``:                                      "there is no JSON value",
		`[]`:                                    "want an object",
		`{}`:                                    "id: <nil>: want a UUID",
		`{"id": "x"}`:                           "id: x: want a UUID",
		`{"id": "` + uuid.Nil.String() + `"}`:   "want a UUID other than the nil UUID",
		`{"id": "` + v1ID + `", "id": ""}`:      "occurs twice",
		`{"id": "` + v1ID + `", "name": 1}`:     "name: 1: Input should be a valid string",
		`{"id": "` + v1ID + `", "Name": ""}`:    "Name: : Extra inputs are not permitted",
		`{"id": "` + v1ID + `", "role_id": ""}`: "role_id: : Input should be a valid UUID",
		`{"id": "` + v1ID + `", "organization_role": "OWNER"}`: "organization_role: OWNER: Input should be 'ADMIN', 'MEMBER' or 'EXTERNAL'",
	} {
		require.ErrorContains(t, service.AddV1(wrong), want, wrong)
	}
	token, _ := service.V1(v1ID)
	assert.Contains(t, string(token), `"name":"before"`)

	require.NoError(t, service.AddV1(`{"id": "`+strings.ToUpper(v1ID)+`"}`), "one with the same id is replaced")
	token, found := service.V1(v1ID)
	assert.True(t, found)
	assert.JSONEq(t, `{"id": "`+v1ID+`", "name": null, "organization_role": null, "personal": null, "role_id": null}`, string(token))

	other := strings.Replace(v1ID, "3fa8", "4fa8", 1)
	require.NoError(t, service.AddV2(`{"_id": "`+other+`"}`))
	require.ErrorContains(t, service.AddV1(`{"id": "`+other+`"}`), "other API")
	_, found = service.V1(other)
	assert.False(t, found)
}
