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

// version is what the User-Agent says: that of the release to come with -dev, until the release itself. RELEASING.md.
const version = "0.2.0-dev"

// The base URLs that the two providers document.
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

// Client calls both APIs. It is made by [NewClient], is safe for concurrent
// use, and is meant to be shared: the goroutines that share one share its
// connections and its rate limiters, one for each service. A call through a zero
// Client returns an [*InputError]; one through a nil *Client panics, as with any
// nil pointer.
//
// A panic in a transport, a hook, a logger or a credential function goes up
// through the call in which it happens, and affects no other call. The outcome of
// the call that panicked is unknown.
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

	// HTTPClient supplies the Transport and the Timeout. It is copied, and never
	// changed. Its Timeout is that of one attempt, from the connection to the
	// last byte of the response, and of waiting for that connection; 0 means 30 s. An attempt that exceeds it counts
	// as one whose connection broke. The waits of a call are not part of it: the
	// context bounds them. The cookie jar and the redirect policy are not used:
	// redirects are never followed. nil, or a nil Transport, means a transport of
	// the package's own, with TLS 1.2 or newer, the environment's proxy, kept
	// connections, and at most 256 KiB of headers in a response.
	//
	// A Transport decides where the credential goes. An [*http.Transport] that
	// allows TLS 1.1 is refused; which certificates a Transport trusts, and how
	// many bytes of headers it reads, is up to the caller. A Transport that
	// ignores the context of its request is abandoned, in a goroutine of its own,
	// a second after the end of the attempt; the outcome is what is known then. An
	// [*http.Transport] that speaks HTTP/2 needs pings ([http.HTTP2Config]), or a
	// connection that died silently is used for ever. For any other transport the
	// client can only tell whether the request body was read: see [NotSentError].
	HTTPClient *http.Client

	// CancelGrace is how long an attempt that is under way when the context of its
	// call ends, by cancellation or by its deadline, may go on. Its outcome then
	// counts, and no other attempt follows. The timeout of an attempt still holds.
	// A call that is waiting when its context ends, ends at once: nothing was
	// sent. 0 means that an attempt is cut off with the context, which leaves its
	// outcome unknown.
	CancelGrace time.Duration

	// UserAgent names the program in the User-Agent header, in front of the
	// library's own name: "billing-sync/1.4". It must be printable ASCII. Empty
	// means the library's name alone.
	UserAgent string

	// Logger gets a record of each attempt and each wait at debug level, and of
	// attempts that failed, and of trouble with the Budget, at warn level. nil
	// means no log.
	Logger *slog.Logger

	// Retry says how often and how soon to try again.
	Retry RetryPolicy

	// Budget is a store in which programs that spend from the same account share
	// one rate budget: together they use it up, and waste none of it on 429s. It
	// requires the Account of each service that has a credential. nil means that
	// this client keeps its own: it notices other programs, and leaves them a
	// share.
	Budget Budget

	// Hooks are called at the beginning and the end of each call, attempt and wait.
	Hooks Hooks

	// MaxResponseBytes is how many bytes of a response's body are read, counted
	// after unpacking. A longer one counts as a response that could not be read. 0
	// means 1 MiB.
	MaxResponseBytes int64

	// AllowInsecureHTTP permits base URLs that begin with http:// and name
	// another machine, to which credentials then travel in clear text. Loopback
	// hosts need no permission.
	AllowInsecureHTTP bool
}

// V1Config is how to reach deepset's API.
type V1Config struct {
	// BaseURL is the scheme, the host and, behind a gateway, a path in front of
	// /api/v1, which may be there or not. Empty means [V1BaseURL].
	BaseURL string

	// APIKey is sent as Authorization: Bearer. Empty, without an APIKeyFunc,
	// means that the service is not used: a call to it is an [*InputError].
	APIKey Secret

	// APIKeyFunc supplies the key for each attempt, for keys that rotate. refused
	// is empty, or the key that the service has just refused with a 401 in this
	// call: if the function then returns another one, the request is sent again,
	// once in a call. Many goroutines call it at once, so it should keep the key
	// and read it anew only if the kept one is refused. Its context is that of the
	// call, with the timeout of an attempt. If it fails, nothing is sent, and its
	// error is wrapped in the call's error. Don't put the key in that error: the
	// client can redact only keys that it has been given. nil means APIKey.
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

	// AccessToken is sent as Authorization, bare unless OAuth is set. Empty, without an
	// AccessTokenFunc, means that the service is not used: a call to it is an
	// [*InputError].
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

	// Share is the fraction of what remains of the account's rate limit that this
	// client may take, from 0 to 1: with 0.5, an overnight run leaves production
	// half. At least one request goes in each window. 0 means all of it.
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
	// MaxAttempts is how many attempts a call may make. 0 means 4. 1 means one
	// request, whatever the response is. With more, an attempt that ends with a 429
	// does not count, and neither does one that ends with a 401 if a function then
	// supplies another credential.
	MaxAttempts int

	// MinBackoff is the wait before the second attempt. It doubles with each
	// further attempt; a random part of each wait, up to half of it, is left out.
	// 0 means 250 ms.
	MinBackoff time.Duration

	// MaxBackoff is the longest such wait. 0 means 10 s.
	MaxBackoff time.Duration

	// MaxRateLimitWait is the longest wait that a server may declare with
	// Retry-After, whatever its status, or with the reset of a rate limit. A longer
	// one ends a call at once: with a [*RateLimitedError], or for a Retry-After of
	// another status with the error of that. 0 means 5 minutes.
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

// NewClient returns a client for the services for which config has a credential.
// It does no I/O. Its error is an [*InputError], which names a setting that cannot
// be right, or says that there is no credential at all.
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

// CloseIdleConnections closes the connections that no call is using.
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

// newTransport is http.DefaultTransport with what a fleet of goroutines that
// talks to two hosts needs: net/http keeps two connections to a host.
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
	// Without pings net/http keeps using a connection that died silently.
	transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}
	return transport
}

// allowsOldTLS reports whether a transport would speak TLS 1.1 or older, which
// net/http does only if it is configured to.
func allowsOldTLS(config *tls.Config) bool {
	return config != nil && config.MinVersion != 0 && config.MinVersion < tls.VersionTLS12
}

// parseBase checks a base URL, and returns it without a slash at its end and without the path of the API, such as "/api/v2",
// with which some programs write it. Its errors never quote what may hold a credential: user info, a query, or a text that is no
// URL at all.
func parseBase(field, base, api string, insecure bool) (*url.URL, error) {
	refuse := func(value, want string) (*url.URL, error) {
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
	// A slash that is escaped belongs to a segment: only plain ones are trimmed.
	escaped := strings.TrimSuffix(strings.TrimRight(u.EscapedPath(), "/"), api)
	for _, segment := range strings.Split(u.Path, "/") {
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

// isHeaderValue reports whether a text is safe in a header: RFC 9110 section
// 5.5 without the bytes that it calls obsolete.
func isHeaderValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// newService returns a service with what each has for itself: where it is, who calls it, and its rate limit. The credential
// is fixed, or supplied by a function.
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

// supplied is a credential that a function supplies. The function may take as long as an attempt.
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
