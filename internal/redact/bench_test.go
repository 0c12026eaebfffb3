package redact_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// BenchmarkClean measures what it costs to clean 4 KiB, as much as an error keeps of a body.
func BenchmarkClean(b *testing.B) {
	key := "api_" + strings.Repeat("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.", 16)
	token := "api-9d2f1c5e-7a3b-4c8d-9e0f-1a2b3c4d5e6f"
	secrets := redact.New(key, token)
	item := `{"code":"invalid_request","message":"no such role: 5f0c1f2e3d4b5a6978879601","id":"93f6f2ae-0d2c-11ee-be56-0242ac120002"},`
	deep := "/"
	for range 5 {
		deep = inJSON(`\` + deep)
	}
	for name, text := range map[string]string{
		"of=JSON":           item,
		"of=JSON-in-JSON":   inJSON(item),
		"of=HTML":           `<p class="x">Bad gateway&nbsp;&mdash; please try again. &lt;nginx&gt; &#169; 2026</p>` + "\n",
		"of=base64":         base64.StdEncoding.EncodeToString([]byte(strings.Repeat(item, 3))),
		"of=deeply-escaped": item + deep,
		"of=echoes":         "bad " + token + ", " + inJSON(inJSON(key)),
	} {
		text = strings.Repeat(text, 1+4096/len(text))[:4096]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				secrets.Clean(text)
			}
		})
	}
}
