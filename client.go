package tokenpatch

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/internal/httpsend"
	"github.com/tokenpatch/tokenpatch/internal/redact"
)

// version is sent in the User-Agent. It is the next release with -dev, until that release: see
// RELEASING.md.
const version = "0.1.0-dev"

// The documented base URLs of the two providers.
const (
	V1BaseURL   = "https://api.cloud.deepset.ai" // Europe; the default
	V1BaseURLUS = "https://api.us.deepset.ai"

	V2BaseURL        = "https://app.launchdarkly.com" // the default
	V2BaseURLFederal = "https://app.launchdarkly.us"
	V2BaseURLEU      = "https://app.eu.launchdarkly.com"
)

const (
	defaultAPIVersion = 20240415
	defaultTimeout    = 30 * time.Second
	defaultMaxBody    = 1 << 20
)

// Client calls both APIs. [NewClient] makes one. It is safe for concurrent use and meant to be
// shared: its goroutines share connections and one rate limiter for each service. A call through a
// zero Client returns an [*InputError]; one through a nil *Client panics.
//
// A panic in a transport, a hook, a logger or a credential function propagates to its caller and
// does not affect other calls. The outcome of the call that panicked is unknown.
type Client struct {
	V1 *V1Tokens // deepset
	V2 *V2Tokens // LaunchDarkly
}

// Config is how a [Client] is set up. A credential for one of the services is
// enough; the zero value of every other field is a good default. NewClient copies
// what it needs: a later change has no effect, except inside of what it cannot
// copy, such as a Transport.
//
// fmt and slog print the credentials redacted.
type Config struct {
	V1 V1Config
	V2 V2Config

	// HTTPClient supplies the Transport and the Timeout. It is copied and never changed.
	//
	// Timeout is for one attempt, from the connection to the last byte of the response, and for
	// waiting for a connection. 0 means 30 s. The context bounds the waits of a call. Redirects are
	// never followed, and the cookie jar is not used.
	//
	// nil, or a nil Transport, means a transport with TLS 1.2 or newer, the proxy of the
	// environment, HTTP/2 pings, and at most 256 KiB of response headers. An [*http.Transport] that
	// allows TLS 1.1 is refused. docs/recipes.md describes proxies, certificates and other
	// transports.
	HTTPClient *http.Client

	// CancelGrace is how long an attempt in flight may outlive the context of its call. Its outcome
	// then counts, and no other attempt follows. The timeout of an attempt still applies. 0 means
	// that the attempt ends with the context, which leaves its outcome unknown. A call still
	// waiting when its context is done returns immediately without sending anything.
	CancelGrace time.Duration

	// UserAgent names the program in the User-Agent header, in front of the
	// library's own name: "billing-sync/1.4". It must be printable ASCII. Empty
	// means the library's name alone.
	UserAgent string

	// Logger gets each attempt and each wait at debug level. Failed attempts and trouble with the
	// Budget are at warn level. nil means no log.
	Logger *slog.Logger

	// Retry configures how often and how soon to try again.
	Retry RetryPolicy

	// Budget lets programs on one account share its rate limit: together they use it up and waste
	// none of it on 429s. It requires the Account of each service with a credential. nil means a
	// limiter of this client's own, which notices other programs and leaves them a share.
	Budget Budget

	// Hooks are called at the beginning and the end of each call, attempt and wait.
	Hooks Hooks

	// MaxResponseBytes bounds the body of a response, counted after unpacking. A longer body counts
	// as unreadable. 0 means 1 MiB.
	MaxResponseBytes int64

	// AllowInsecureHTTP permits base URLs with http:// for other machines. Credentials then travel
	// in clear text. Loopback hosts need no permission.
	AllowInsecureHTTP bool
}

// V1Config is how to reach deepset's API.
type V1Config struct {
	// BaseURL is the scheme, the host and, behind a gateway, a path in front of
	// /api/v1, which may be there or not. Empty means [V1BaseURL].
	BaseURL string

	// APIKey is sent as Authorization: Bearer. If it is empty and APIKeyFunc is nil, calls to the
	// service return an [*InputError].
	APIKey Secret

	// APIKeyFunc supplies the key for each attempt, for keys that rotate. nil means APIKey.
	//
	// refused is empty, or the key that the service has just refused with a 401 in this call. If
	// the function then returns another key, the request is sent again, once in a call. Many
	// goroutines call the function at once, so it should cache the key. Its context is the call's,
	// with the timeout of an attempt.
	//
	// If it fails, nothing is sent and its error is wrapped in the call's error. Don't put the key
	// in the error: the client can redact only keys it has been given.
	APIKeyFunc func(ctx context.Context, refused Secret) (Secret, error)

	// Account names the account whose rate budget is shared through
	// [Config.Budget]: programs with the same Account share one. It may be any
	// text except a credential, and is required with a Budget.
	Account string
}

// V2Config is how to reach LaunchDarkly's API.
type V2Config struct {
	// BaseURL is the scheme, the host and, behind a gateway, a path in front of
	// /api/v2, which may be there or not. Empty means [V2BaseURL].
	BaseURL string

	// AccessToken is sent as Authorization, bare unless OAuth is set. If it is empty and
	// AccessTokenFunc is nil, calls to the service return an [*InputError].
	AccessToken Secret

	// AccessTokenFunc supplies the token for each attempt, as APIKeyFunc of
	// [V1Config] does. nil means AccessToken.
	AccessTokenFunc func(ctx context.Context, refused Secret) (Secret, error)

	// OAuth is for an OAuth access token, which is sent as Authorization: Bearer.
	OAuth bool

	// APIVersion is sent as LD-API-Version. 0 means 20240415.
	APIVersion int

	// Account names the account whose rate budget is shared, as in [V1Config].
	Account string

	// Share is the fraction of the remaining rate limit of the account for this client, from 0 to
	// 1. With 0.5, an overnight run leaves production half. At least one request goes in each
	// window. 0 means all of it.
	Share float64
}

// LogValue returns the settings without credentials. For functions, the HTTP client, the
// logger and the budget it reports only whether they are set.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.Any("v1", c.V1),
		slog.Any("v2", c.V2),
		slog.Bool("httpClient", c.HTTPClient != nil),
		slog.Duration("cancelGrace", c.CancelGrace),
		slog.String("userAgent", c.UserAgent),
		slog.Bool("logger", c.Logger != nil),
		slog.Group("retry",
			slog.Int("maxAttempts", c.Retry.MaxAttempts),
			slog.Duration("minBackoff", c.Retry.MinBackoff),
			slog.Duration("maxBackoff", c.Retry.MaxBackoff),
			slog.Duration("maxRateLimitWait", c.Retry.MaxRateLimitWait)),
		slog.Bool("budget", c.Budget != nil),
		slog.Int64("maxResponseBytes", c.MaxResponseBytes),
		slog.Bool("allowInsecureHTTP", c.AllowInsecureHTTP),
	)
}

// LogValue returns the settings without credentials, as [Config.LogValue] does.
func (c V1Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("baseURL", printableBase(c.BaseURL)),
		slog.Any("apiKey", c.APIKey),
		slog.Bool("apiKeyFunc", c.APIKeyFunc != nil),
		slog.String("account", c.Account),
	)
}

// LogValue returns the settings without credentials, as [Config.LogValue] does.
func (c V2Config) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("baseURL", printableBase(c.BaseURL)),
		slog.Any("accessToken", c.AccessToken),
		slog.Bool("accessTokenFunc", c.AccessTokenFunc != nil),
		slog.Bool("oauth", c.OAuth),
		slog.Int("apiVersion", c.APIVersion),
		slog.String("account", c.Account),
		slog.Float64("share", c.Share),
	)
}

// printableBase returns a base URL without what NewClient refuses in it, which can be a
// credential.
func printableBase(base string) string {
	u, err := url.Parse(base)
	switch {
	case base == "":
		return ""
	case err != nil || u.Host == "":
		return "not a URL with a host"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// RetryPolicy is how often and how soon a call is tried again. The zero value is
// the default. Whether a request may be sent again at all is another question: see
// [Patch.Replay].
type RetryPolicy struct {
	// MaxAttempts is how many attempts a call may make. 0 means 4. 1 means one request, whatever
	// the response is. With more, a 429 does not count, and neither does a 401 if a function then
	// supplies another credential.
	MaxAttempts int

	// MinBackoff is the wait before the second attempt. It doubles with each
	// further attempt; a random part of each wait, up to half of it, is left out.
	// 0 means 250 ms.
	MinBackoff time.Duration

	// MaxBackoff is the longest such wait. 0 means 10 s.
	MaxBackoff time.Duration

	// MaxRateLimitWait is the longest wait that a server may ask for, with Retry-After or the reset
	// of a rate limit. A longer one ends the call at once: with a [*RateLimitedError], or after
	// another status with the error of the status. 0 means 5 minutes.
	MaxRateLimitWait time.Duration
}

func (p RetryPolicy) withDefaults() engine.Policy {
	return engine.Policy{
		MaxAttempts:      cmp.Or(p.MaxAttempts, 4),
		MinBackoff:       cmp.Or(p.MinBackoff, 250*time.Millisecond),
		MaxBackoff:       cmp.Or(p.MaxBackoff, 10*time.Second),
		MaxRateLimitWait: cmp.Or(p.MaxRateLimitWait, 5*time.Minute),
	}
}

// ConfigFromEnv reads DEEPSET_API_KEY, DEEPSET_API_URL,
// LAUNCHDARKLY_ACCESS_TOKEN and LAUNCHDARKLY_API_HOST. What is not set stays
// at its default; a host without a scheme is taken as https.
func ConfigFromEnv() Config {
	host := os.Getenv("LAUNCHDARKLY_API_HOST")
	if host != "" && !strings.Contains(host, ":/") {
		host = "https://" + host
	}
	return Config{
		V1: V1Config{BaseURL: os.Getenv("DEEPSET_API_URL"), APIKey: Secret(os.Getenv("DEEPSET_API_KEY"))},
		V2: V2Config{BaseURL: host, AccessToken: Secret(os.Getenv("LAUNCHDARKLY_ACCESS_TOKEN"))},
	}
}

// NewClient returns a client for the services with a credential in config. It does no I/O. Its
// error is an [*InputError], which names an invalid setting or reports a missing credential.
func NewClient(config Config) (*Client, error) {
	shared, err := newShared(config)
	if err != nil {
		return nil, err
	}
	v1, err := newV1Tokens(shared, config)
	if err != nil {
		return nil, err
	}
	v2, err := newV2Tokens(shared, config)
	if err != nil {
		return nil, err
	}
	if v1.service.engine.Credential == nil && v2.service.engine.Credential == nil {
		return nil, &InputError{Field: "Config", Value: "no credential", Want: "V1.APIKey, V2.AccessToken, or a function that supplies one of them; ConfigFromEnv reads DEEPSET_API_KEY and LAUNCHDARKLY_ACCESS_TOKEN"}
	}
	return &Client{V1: v1, V2: v2}, nil
}

// CloseIdleConnections closes unused connections.
func (c *Client) CloseIdleConnections() {
	if c != nil && c.V1 != nil && c.V1.service != nil { // made by NewClient
		c.V1.service.engine.Sender.CloseIdleConnections()
	}
}

// shared is what both services have in common.
type shared struct {
	header http.Header             // of every request, its credential aside
	sender func() *httpsend.Sender // makes one for each server
	policy engine.Policy
	known  *redact.Known // the credentials of both, which must not be shown
	events events
}

// newShared checks and fills in what both services have in common.
func newShared(config Config) (shared, error) {
	for _, setting := range []struct {
		field    string
		negative bool
	}{
		{"Config.CancelGrace", config.CancelGrace < 0},
		{"Config.MaxResponseBytes", config.MaxResponseBytes < 0},
		{"Config.Retry.MaxAttempts", config.Retry.MaxAttempts < 0},
		{"Config.Retry.MinBackoff", config.Retry.MinBackoff < 0},
		{"Config.Retry.MaxBackoff", config.Retry.MaxBackoff < 0},
		{"Config.Retry.MaxRateLimitWait", config.Retry.MaxRateLimitWait < 0},
	} {
		if setting.negative {
			return shared{}, &InputError{Field: setting.field, Value: "a negative number", Want: "0 for the default, or more"}
		}
	}
	agent := strings.TrimSpace(config.UserAgent + " tokenpatch/" + version)
	if !isHeaderValue(agent) {
		return shared{}, &InputError{Field: "Config.UserAgent", Value: strconv.Quote(config.UserAgent), Want: "printable ASCII"}
	}
	sender, err := newSender(config)
	if err != nil {
		return shared{}, err
	}
	return shared{
		header: http.Header{"User-Agent": {agent}, "Accept": {"application/json"}},
		sender: sender,
		policy: config.Retry.withDefaults(),
		known:  redact.NewKnown(string(config.V1.APIKey), string(config.V2.AccessToken)),
		events: events{hooks: config.Hooks, log: config.Logger},
	}, nil
}

// newSender returns what makes a Sender for each server. All use one transport.
func newSender(config Config) (func() *httpsend.Sender, error) {
	var client http.Client
	if config.HTTPClient != nil {
		client = *config.HTTPClient
	}
	transport, standard := client.Transport.(*http.Transport)
	trusted := client.Transport == nil || standard && transport == nil
	switch {
	case trusted:
		client.Transport = newTransport()
	case standard && allowsOldTLS(transport.TLSClientConfig):
		return nil, &InputError{Field: "Config.HTTPClient", Value: "a transport that allows TLS 1.1", Want: "TLS 1.2 or newer"}
	}
	timeout := cmp.Or(max(client.Timeout, 0), defaultTimeout)
	maxBody := min(cmp.Or(config.MaxResponseBytes, defaultMaxBody), math.MaxInt64-1) // one more is read to see the end
	return func() *httpsend.Sender {
		return &httpsend.Sender{Transport: client.Transport, Trusted: trusted, Timeout: timeout, Grace: config.CancelGrace, MaxBody: maxBody}
	}, nil
}

// newTransport is http.DefaultTransport for many goroutines and two hosts: net/http keeps only two
// connections to a host.
func newTransport() *http.Transport {
	transport := new(http.Transport)
	if standard, ok := http.DefaultTransport.(*http.Transport); ok {
		transport = standard.Clone()
	}
	transport.Proxy = http.ProxyFromEnvironment // a function of somebody else's could block for ever
	transport.MaxIdleConns = 0
	transport.MaxIdleConnsPerHost = 256
	transport.MaxResponseHeaderBytes = 256 << 10
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	transport.ForceAttemptHTTP2 = true
	// Without pings net/http keeps using a dead connection.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}
	return transport
}

// allowsOldTLS reports whether a transport would speak TLS 1.1 or older, which
// net/http does only if it is configured to.
func allowsOldTLS(config *tls.Config) bool {
	return config != nil && config.MinVersion != 0 && config.MinVersion < tls.VersionTLS12
}

// parseBase checks a base URL. It returns it without a slash at its end and without the path of the
// API, such as "/api/v2", which some programs include. Its errors never quote possible credentials:
// user info, a query, or a text that is not a URL.
func parseBase(field, base, api string, insecure bool) (*url.URL, error) {
	refuse := func(value, want string) (*url.URL, error) { //nolint:unparam // as parseBase returns it
		return nil, &InputError{Field: field, Value: value, Want: want}
	}
	u, err := url.Parse(base)
	switch {
	case err != nil:
		return refuse("not a URL", "https://host")
	case u.User != nil:
		return refuse("a URL with user info", "the credential in its own field, and no user info here")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return refuse("a URL with a query or a fragment", "neither")
	case u.Scheme == "" || u.Hostname() == "":
		return refuse("a URL without a scheme or a host", "https://host")
	case u.Scheme != "https" && u.Scheme != "http":
		return refuse(strconv.Quote(u.Scheme+"://"+u.Host), "https://host")
	case u.Scheme == "http" && !insecure && !isLoopback(u.Hostname()):
		return refuse(strconv.Quote(u.Scheme+"://"+u.Host), "https, which hides the credential; http is for loopback hosts, or with AllowInsecureHTTP")
	}
	// An escaped slash belongs to a segment: only plain ones are trimmed.
	escaped := strings.TrimSuffix(strings.TrimRight(u.EscapedPath(), "/"), api)
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." {
			return refuse(strconv.Quote(u.Path), "a path without dot segments")
		}
	}
	if endsInAPI.MatchString(escaped) {
		return refuse(strconv.Quote(u.Path), "the path in front of "+api+", or none")
	}
	if u.Path, err = url.PathUnescape(escaped); err != nil {
		return refuse("not a URL", "https://host")
	}
	if u.RawPath != "" {
		u.RawPath = escaped
	}
	return u, nil
}

// endsInAPI matches a path behind which the API's own would double something.
var endsInAPI = regexp.MustCompile(`/api(/v[0-9]+)?/*$`)

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// isHeaderValue reports whether a text is safe in a header: RFC 9110 section 5.5 without the
// obsolete bytes.
func isHeaderValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// newService returns a service with its own address, credential and rate limit. The credential is
// fixed, or supplied by a function.
func newService(shared shared, config Config, own ownConfig) (*service, error) {
	s := &service{api: own.api, field: "Config." + own.api + "." + own.credential, events: shared.events}
	var err error
	if s.base, err = parseBase("Config."+own.api+".BaseURL", own.baseURL, "/api/"+strings.ToLower(own.api), config.AllowInsecureHTTP); err != nil {
		return nil, err
	}
	s.engine.Sender, s.engine.Policy, s.engine.Known = shared.sender(), shared.policy, shared.known
	s.engine.Scheme, s.engine.RetryConflicts = own.scheme, own.retryConflicts
	switch {
	case own.supply != nil && own.fixed != "":
		return nil, &InputError{Field: s.field, Value: "set together with " + s.field + "Func", Want: "one of the two"}
	case own.supply != nil:
		s.engine.Credential = s.supplied(own.supply)
	case own.fixed != "":
		if err := checkCredential(s.field, own.fixed); err != nil {
			return nil, err
		}
		s.engine.Credential = func(context.Context, string) (string, error) { return string(own.fixed), nil }
	}
	s.reads = shared.header.Clone()
	maps.Copy(s.reads, own.header)
	s.writes = s.reads.Clone()
	s.writes["Content-Type"] = []string{"application/json"}
	return s, s.limit(config, own.account, own.share)
}

// ownConfig is what a service has for itself.
type ownConfig struct {
	api            string // "V1" or "V2"
	credential     string // the name of the credential's setting
	baseURL        string
	scheme         string // of the Authorization header, with the blank behind it
	fixed          Secret
	supply         func(context.Context, Secret) (Secret, error)
	header         http.Header
	account        string
	share          float64
	retryConflicts bool
}

// checkCredential refuses what cannot be a credential. Its errors do not show it.
func checkCredential(field string, secret Secret) error {
	quoted := len(secret) > 1 && strings.ContainsRune(`"'`, rune(secret[0])) && secret[0] == secret[len(secret)-1]
	switch {
	case quoted:
		return &InputError{Field: field, Value: "a credential in quotes", Want: "the credential without the quotes around it"}
	case secret == "", !isHeaderValue(string(secret)), strings.ContainsRune(string(secret), ' '):
		return &InputError{Field: field, Want: "printable ASCII without spaces, and at least one character"}
	}
	return nil
}

// supplied is the credential from a function, which may take as long as an attempt.
func (s *service) supplied(supply func(context.Context, Secret) (Secret, error)) func(context.Context, string) (string, error) {
	field := s.field + "Func"
	return func(ctx context.Context, refused string) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, s.engine.Sender.Timeout)
		defer cancel()
		secret, err := httpsend.Await(ctx, func() (Secret, error) { return supply(ctx, Secret(refused)) }, nil)
		if err != nil {
			return "", fmt.Errorf("%s: %w", field, s.engine.Known.Secrets().With(string(secret)).CleanError(err))
		}
		return string(secret), checkCredential(field, secret)
	}
}
