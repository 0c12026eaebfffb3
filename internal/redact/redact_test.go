package redact_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// A credential with everything JSON, HTML, URLs and Go escape.
const secret = `k"<&>/%41\Zq8vT3mX9+=uR~5`

func inJSON(text string) string {
	encoded, _ := json.Marshal(text)
	return string(encoded[1 : len(encoded)-1])
}

func inHTML(text string) string { return html.EscapeString(text) }

func times(n int, escape func(string) string, text string) string {
	for range n {
		text = escape(text)
	}
	return text
}

func each(text, format string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// encodings are ways in which a server can echo what it was sent.
var encodings = map[string]func(string) string{
	"verbatim":                   func(text string) string { return text },
	"upper case":                 strings.ToUpper,
	"lower case":                 strings.ToLower,
	"JSON":                       inJSON,
	"JSON in JSON":               func(text string) string { return inJSON(inJSON(text)) },
	"JSON, slashes too":          func(text string) string { return strings.ReplaceAll(inJSON(text), "/", `\/`) },
	"JSON code units":            func(text string) string { return each(text, `\u%04x`) },
	"JSON code units, caps":      func(text string) string { return each(text, `\u%04X`) },
	"Go":                         func(text string) string { return fmt.Sprintf("%q", text) },
	"Go bytes":                   func(text string) string { return each(text, `\x%02x`) },
	"percent":                    url.QueryEscape,
	"percent, path":              url.PathEscape,
	"percent, all":               func(text string) string { return each(text, "%%%02X") },
	"percent twice":              func(text string) string { return url.QueryEscape(url.QueryEscape(text)) },
	"HTML":                       html.EscapeString,
	"HTML twice":                 func(text string) string { return html.EscapeString(html.EscapeString(text)) },
	"HTML, decimal":              func(text string) string { return each(text, "&#%d;") },
	"HTML, hexadecimal":          func(text string) string { return each(text, "&#x%x;") },
	"HTML in JSON":               func(text string) string { return inJSON(html.EscapeString(text)) },
	"percent in JSON":            func(text string) string { return each(url.QueryEscape(text), `\u%04x`) },
	"hexadecimal":                func(text string) string { return hex.EncodeToString([]byte(text)) },
	"hexadecimal, caps":          func(text string) string { return strings.ToUpper(hex.EncodeToString([]byte(text))) },
	"hexadecimal, spaces":        func(text string) string { return fmt.Sprintf("% x", text) },
	"hexadecimal, colons":        func(text string) string { return each(text, "%02X:") },
	"hexadecimal, 0x":            func(text string) string { return each(text, "0x%02x, ") },
	"hexadecimal, 0X":            func(text string) string { return each(text, "0X%02X\n") },
	"hexadecimal, quoted":        func(text string) string { return each(text, `"%02x",`) },
	"hexadecimal in JSON":        func(text string) string { return inJSON(each(text, `\x%02x`)) },
	"base64":                     func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) },
	"base64, one before":         func(text string) string { return base64.StdEncoding.EncodeToString([]byte("x" + text)) },
	"base64, two before":         func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte("xy" + text)) },
	"base64, in JSON":            func(text string) string { return inJSON(base64.StdEncoding.EncodeToString([]byte(text))) },
	"base64, percent":            func(text string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(text))) },
	"JSON four times in JSON":    func(text string) string { return times(5, inJSON, text) },
	"HTML four times in JSON":    func(text string) string { return inJSON(times(4, inHTML, text)) },
	"percent four times in JSON": func(text string) string { return each(times(4, url.QueryEscape, text), `\u%04x`) },
	"hexadecimal four times in JSON": func(text string) string {
		return inJSON(times(3, inHTML, each(text, "&quot;%02x&quot;")))
	},
}

// No eight characters of a credential remain, in any encoding.
func TestCleanFindsEveryEncoding(t *testing.T) {
	s := redact.New("another-one", secret)
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			for _, around := range []string{"%s", "bad %s here", "abc%sdef", `{"message":"%s"}`, "%%%s%%", `\%s`} {
				clean := s.Clean(fmt.Sprintf(around, encode(secret)))
				assert.Contains(t, clean, redact.Redacted)
				for at := range len(secret) - 8 {
					part := encode(secret[at : at+8])
					assert.NotContains(t, strings.ToLower(clean), strings.ToLower(part), around)
				}
			}
		})
	}
}

// The same if a server, or the end of a body, has cut the credential.
func TestCleanFindsParts(t *testing.T) {
	s := redact.New(secret)
	for name, encode := range encodings {
		t.Run(name, func(t *testing.T) {
			whole := encode(secret)
			for cut := 0; cut < len(whole); cut += 1 + len(whole)/256 {
				for _, part := range []string{whole[cut:], whole[:cut], whole[cut/2 : len(whole)-cut/3]} {
					clean := s.Clean("z: " + part)
					for at := range len(secret) - 11 { // it may take three more characters to see a cut escape or digit
						require.NotContains(t, strings.ToLower(clean), strings.ToLower(encode(secret[at:at+11])))
					}
				}
			}
			for begin := range len(secret) - 8 {
				clean := s.Clean("z: " + encode(secret[begin:begin+8]))
				assert.Contains(t, clean, redact.Redacted, "%d", begin)
			}
		})
	}
}

func TestCleanLeavesOtherText(t *testing.T) {
	s := redact.New(secret)
	for _, text := range []string{
		"", "no such token", `{"code":"forbidden","message":"Not you.","id":"93f6f2ae-0d2c-11ee-be56-0242ac120002"}`,
		strings.Repeat("k", 100), `\u00e9 \\ \q % %zz &nbsp; &amp &`, "\xff\xfe", secret[:7], "5~Ru=+9Xm3Tv8qZ", each(secret, "%02x z "),
	} {
		assert.Equal(t, text, s.Clean(text))
	}
	assert.Equal(t, "bad [redacted], [redacted]!", s.Clean("bad "+secret+", "+secret+"!"))
	assert.Equal(t, secret, redact.New().Clean(secret))
	assert.Equal(t, secret, (*redact.Secrets)(nil).Clean(secret))
}

// A short credential is removed only as a whole.
func TestCleanOfShortSecrets(t *testing.T) {
	s := redact.New("", "key")
	assert.Equal(t, "bad [redacted] ke", s.Clean("bad KEY ke"))
	assert.Equal(t, "bad [redacted]", s.Clean(`bad \u006bey`))
}

// Decoding has bounds, so the work has.
func TestCleanLimits(t *testing.T) {
	const plain = "9d2f1c5e7a3b4c8d"
	s := redact.New(plain)
	unit := each(plain, `\u%04x`)
	assert.Equal(t, "[redacted]", s.Clean(times(5, inJSON, unit)))
	assert.Equal(t, times(6, inJSON, unit), s.Clean(times(6, inJSON, unit)))

	entities := func(length int) string {
		return each(plain, "&#%0"+strconv.Itoa(length-len("&#;"))+"d;")
	}
	assert.Equal(t, "[redacted]", s.Clean(entities(32)))
	assert.Equal(t, entities(33), s.Clean(entities(33)))
	assert.Equal(t, "[redacted]", redact.New("````````").Clean(strings.Repeat("&DiacriticalGrave;", 8)), "the longest name")

	assert.Equal(t, plain[:7], s.Clean(plain[:7]))
	assert.Equal(t, "[redacted]", s.Clean(plain[:8]))
	for _, encode := range []func(string) string{encodings["hexadecimal"], encodings["hexadecimal, spaces"]} {
		assert.Equal(t, encode(plain[:7]), s.Clean(encode(plain[:7])))
		assert.Equal(t, "[redacted]", s.Clean(encode(plain[:8])))
	}
}

// A credential across the cut is found, however little of it is left.
func TestCleanPrefix(t *testing.T) {
	s := redact.New(secret)
	for limit := len("bad ") + 1; limit <= len("bad ")+len(secret); limit++ {
		assert.Equal(t, "bad [redacted]", s.CleanPrefix("bad "+secret+" here", limit))
	}
	for limit := range len("bad ") {
		assert.Equal(t, "bad "[:limit], s.CleanPrefix("bad "+secret, limit))
	}
	assert.Equal(t, "bad [redacted]", s.CleanPrefix("bad "+each(secret, "&#%029d;"), 7), "eight of the longest entities are")
	assert.Equal(t, "bad", redact.New().CleanPrefix("bad "+secret, 3))
	assert.Equal(t, "bad", (*redact.Secrets)(nil).CleanPrefix("bad", 7))
}

// Cleaning a text without escapes copies nothing.
func TestCleanAllocates(t *testing.T) {
	s := redact.New(secret)
	text := strings.Repeat("no such token: 93f6f2ae-0d2c-11ee. ", 100)
	assert.Zero(t, testing.AllocsPerRun(10, func() { s.Clean(text) }))
}

func TestWith(t *testing.T) {
	one := redact.New("first-secret")
	both := one.With("second-secret")
	assert.Same(t, both, both.With("first-secret"))
	assert.Same(t, both, both.With(""))
	assert.Equal(t, "[redacted] [redacted]", both.Clean("first-secret second-secret"))
	assert.Equal(t, "[redacted] second-secret", one.Clean("first-secret second-secret"))
	assert.Equal(t, "[redacted]", (*redact.Secrets)(nil).With("first-secret").Clean("first-secret"))
}

func TestCleanError(t *testing.T) {
	s := redact.New(secret)
	assert.Same(t, io.EOF, s.CleanError(io.EOF))
	err := redact.New("5ecret-a&b-5ecret").CleanError(fmt.Errorf("bad %q: %w", "5ecret-a&b-5ecret", io.EOF))
	require.EqualError(t, err, "bad \"[redacted]\": EOF")
	require.NotErrorIs(t, err, io.EOF, "what it wraps can hold the credential")
	long := s.CleanError(errors.New(strings.Repeat("\u00e9", 5000)))
	assert.Less(t, len(long.Error()), 1100)
}

// Whatever stands around an echo, and however it is escaped, it does not come out.
func FuzzClean(f *testing.F) {
	f.Add([]byte("secretive-one"), uint64(0), `{"message":"`, `"}`)
	f.Add([]byte("a/b+c=d-e/f+g"), uint64(5), `\`, `\u00`)
	f.Add([]byte("QUFBQUFBQUE="), uint64(3), `%`, `&#`)
	f.Fuzz(func(t *testing.T, seed []byte, escaped uint64, before, after string) {
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ+/-=" // shares nothing with [redacted], nor with what escapes are made of
		if len(seed) < 12 || len(before)+len(after) > 4<<10 {
			return
		}
		var secret, echo strings.Builder
		for i, b := range seed {
			c := alphabet[int(b)%len(alphabet)]
			secret.WriteByte(c)
			switch escaped >> (2 * (i % 32)) & 3 {
			case 0:
				echo.WriteByte(c)
			case 1:
				fmt.Fprintf(&echo, `\u%04x`, c)
			case 2:
				fmt.Fprintf(&echo, "%%%02x", c)
			case 3:
				fmt.Fprintf(&echo, "&#%d;", c)
			}
		}
		clean := redact.New(secret.String()).Clean(before + echo.String() + after)
		require.Contains(t, clean, redact.Redacted)
		require.NotContains(t, clean, secret.String())
		require.NotContains(t, clean, echo.String())
	})
}
