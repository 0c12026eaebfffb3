package rawjson_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/rawjson"
)

type thing struct {
	Name    string
	Size    int64
	On      bool
	Tags    []string
	Parts   map[string]thing
	Others  []rawjson.Member
	missing bool
}

var (
	partCodec = rawjson.Object(others, rawjson.Of("name", name, rawjson.String[string]()))

	thingCodec = rawjson.Object(others,
		rawjson.Of("name", name, rawjson.String[string]()),
		rawjson.Of("size", func(v *thing) *int64 { return &v.Size }, rawjson.Integer[int64]()),
		rawjson.Of("on", func(v *thing) *bool { return &v.On }, rawjson.Boolean()),
		rawjson.Of("tags", func(v *thing) *[]string { return &v.Tags }, rawjson.List(rawjson.String[string]())),
		rawjson.Of("parts", func(v *thing) *map[string]thing { return &v.Parts }, rawjson.Map(partCodec)),
		rawjson.Of("missing", func(v *thing) *bool { return &v.missing }, rawjson.Codec[bool]{
			Read:   rawjson.Boolean().Read,
			Append: rawjson.Boolean().Append,
			Null:   func(v *bool) { *v = true },
			Absent: func(v *bool) bool { return !*v },
		}),
	)
)

func name(v *thing) *string             { return &v.Name }
func others(v *thing) *[]rawjson.Member { return &v.Others }

func TestCodec(t *testing.T) {
	for data, want := range map[string]string{
		`{}`: `{"name":"","size":0,"on":false,"parts":{}}`,
		` { "tags" : [ "a" , "b" , "c" ] , "on" : true , "size" : -12 , "name" : "\u0061\n" , "x" : [ 1 ] } `: `{"name":"a\n","size":-12,"on":true,"tags":["a","b","c"],"parts":{},"x":[ 1 ]}`,
		`{"parts":{"b":{"name":"n","y":1},"a":null,"":{}},"tags":[]}`:                                         `{"name":"","size":0,"on":false,"tags":[],"parts":{"":{"name":""},"a":{"name":""},"b":{"name":"n","y":1}}}`,
		`{"name":"a","name":null,"tags":["a"],"tags":null,"parts":null,"missing":null}`:                       `{"name":"","size":0,"on":false,"parts":{},"missing":true}`,
		`{"x":1,"y":2,"x":3,"n\u0061me":"b","Name":4}`:                                                        `{"name":"b","size":0,"on":false,"parts":{},"x":3,"y":2,"Name":4}`,
		`{"parts":{"a":{"name":"n","y":1},"b":{}}}`:                                                           `{"name":"","size":0,"on":false,"parts":{"a":{"name":"n","y":1},"b":{"name":""}}}`,
	} {
		v, err := thingCodec.Decode([]byte(data))
		require.NoError(t, err, data)
		assert.Equal(t, want, string(thingCodec.Append(nil, v)), data)
	}
	assert.Equal(t, `[]`, string(rawjson.List(partCodec).Append(nil, new([]thing))))
	assert.Equal(t, `{}`, string(rawjson.Object(others).Append(nil, new(thing))))
}

func TestCodecErrors(t *testing.T) {
	for data, want := range map[string]string{
		`[]`:                               "want an object, got an array",
		`null`:                             "want an object, got null",
		`{"name":1}`:                       "name: want a string, got a number",
		`{"size":"1"}`:                     "size: want an integer, got a string",
		`{"size":1.0}`:                     "size: want an integer within range, without fraction or exponent",
		`{"size":9223372036854775808}`:     "size: want an integer within range, without fraction or exponent",
		`{"on":"true"}`:                    "on: want a boolean, got a string",
		`{"tags":{}}`:                      "tags: want an array, got an object",
		`{"tags":["a",null]}`:              "tags: 1: want a string, got null",
		`{"parts":[]}`:                     "parts: want an object, got an array",
		`{"parts":{"a\n":{"name":false}}}`: `parts: "a\n": name: want a string, got a boolean`,
	} {
		v, err := thingCodec.Decode([]byte(data))
		require.EqualError(t, err, want, data)
		assert.Nil(t, v)
	}
	_, err := thingCodec.Decode([]byte(`{"parts":{"` + strings.Repeat("a", 1000) + `":1}}`))
	assert.Less(t, len(err.Error()), 200)
	for _, data := range []string{``, `{`, `{"name":"a"`, `{"tags":["a",}`, `{"x":01}`, `{} {}`, `{"parts":{"a"}}`} {
		_, err := thingCodec.Decode([]byte(data))
		var syntax *json.SyntaxError
		require.ErrorAs(t, err, &syntax, data)
	}
	_, err = rawjson.Integer[int]().Decode([]byte(`9223372036854775807`))
	require.NoError(t, err)
}
