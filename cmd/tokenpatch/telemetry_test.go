package main_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// collector is an OTLP receiver over HTTP.
type collector struct {
	*httptest.Server
	mu        sync.Mutex
	bytes     []byte // of all requests, unpacked
	keys      []string
	spans     []span
	resources []map[string]string
	gauges    map[string]int64 // the last value of the changes of a run, by outcome
	counts    map[string]uint64
}

type span struct {
	*tracepb.Span
	attributes map[string]string
}

func newCollector(t testing.TB) *collector {
	c := &collector{gauges: map[string]int64{}, counts: map[string]uint64{}}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := io.Reader(r.Body)
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(body)
			if !assert.NoError(t, err) {
				return
			}
			body = unpacked
		}
		sent, err := io.ReadAll(body)
		assert.NoError(t, err)
		assert.NoError(t, c.take(r.URL.Path, sent))
		c.mu.Lock()
		defer c.mu.Unlock()
		c.keys = append(c.keys, r.Header.Get("X-Key"))
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(c.Close)
	return c
}

// take decodes and stores a request.
func (c *collector) take(path string, sent []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, sent...)
	switch path {
	case "/v1/traces":
		var request collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(sent, &request); err != nil {
			return err
		}
		for _, of := range request.ResourceSpans {
			c.resources = append(c.resources, texts(of.Resource.Attributes))
			for _, scope := range of.ScopeSpans {
				for _, one := range scope.Spans {
					c.spans = append(c.spans, span{one, texts(one.Attributes)})
				}
			}
		}
	case "/v1/metrics":
		var request collectormetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(sent, &request); err != nil {
			return err
		}
		for _, of := range request.ResourceMetrics {
			c.resources = append(c.resources, texts(of.Resource.Attributes))
			for _, scope := range of.ScopeMetrics {
				for _, m := range scope.Metrics {
					for _, point := range m.GetGauge().GetDataPoints() {
						c.gauges[m.Name+" "+texts(point.Attributes)["tokenpatch.fleet.run"]+" "+texts(point.Attributes)["tokenpatch.outcome"]] = point.GetAsInt()
					}
					for _, point := range m.GetHistogram().GetDataPoints() {
						c.counts[m.Name+" "+texts(point.Attributes)["tokenpatch.outcome"]] = point.Count
					}
				}
			}
		}
	default:
		return fmt.Errorf("sent to %s", path)
	}
	return nil
}

func texts(attributes []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.Key] = a.Value.GetStringValue()
		if number, ok := a.Value.Value.(*common.AnyValue_IntValue); ok {
			all[a.Key] = fmt.Sprint(number.IntValue)
		}
	}
	return all
}

// named are the spans of a name.
func (c *collector) named(name string) (spans []span) {
	for _, one := range c.spans {
		if one.Name == name {
			spans = append(spans, one)
		}
	}
	return spans
}

// above is the span above another one.
func (c *collector) above(below span) string {
	for _, one := range c.spans {
		if bytes.Equal(one.SpanId, below.ParentSpanId) && bytes.Equal(one.TraceId, below.TraceId) {
			return one.Name
		}
	}
	return ""
}

const (
	tryName     = "tokenpatch change"
	callName    = "tokenpatch PATCH /api/v2/tokens/{id}"
	attemptName = "PATCH /api/v2/tokens/{id}"
)

func (s *shell) with(variables ...string) *shell {
	other := *s
	other.env = append(slices.Clip(other.env), variables...)
	return &other
}

// The collector's data explains a run, and contains no secret.
func TestTracesAndMetrics(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	c := newCollector(t)
	s.many(20)
	require.NoError(t, s.service.AddV2(`{"_id":"token3","name":"ci 3","role":"writer","token":"api-the-secret-value"}`))
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Status: http.StatusServiceUnavailable},
		tokenpatchtest.Fault{Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "token7") }, Times: -1, Status: http.StatusForbidden,
			Body: `{"code":"forbidden","message":"not with ` + tokenpatchtest.AccessToken + `"}`})
	traced := s.with("OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_EXPORTER_OTLP_HEADERS=x-key=Xyzzy12345", "OTEL_RESOURCE_ATTRIBUTES=team=tools",
		"OTEL_PROPAGATORS=tracecontext,baggage")
	e := traced.run(3, "apply", "many.jsonl")
	assert.True(t, strings.HasPrefix(e.stdout, "many: 20 changes: 19 applied, 1 not applied, 0 unknown, 0 pending\n"), e.stdout)
	assert.NotContains(t, e.stderr, "traces or metrics")

	decided := 0
	for _, try := range c.named(tryName) {
		assert.Empty(t, try.ParentSpanId, "a trace of its own")
		assert.Equal(t, "many", try.attributes["tokenpatch.fleet.run"])
		assert.Equal(t, "V2", try.attributes["tokenpatch.api"])
		if try.attributes["tokenpatch.outcome"] != "pending" {
			decided++
		}
		if try.attributes["tokenpatch.token.id"] == "token7" {
			assert.Equal(t, "not_applied", try.attributes["tokenpatch.outcome"])
			assert.Equal(t, "ForbiddenError", try.attributes["error.type"])
		}
	}
	assert.Equal(t, 20, decided)
	require.NotEmpty(t, c.named(callName))
	for _, call := range c.named(callName) {
		assert.Equal(t, tryName, c.above(call))
	}
	require.NotEmpty(t, c.named(attemptName))
	for _, attempt := range c.named(attemptName) {
		assert.Equal(t, callName, c.above(attempt))
		assert.Equal(t, tracepb.Span_SPAN_KIND_CLIENT, attempt.Kind)
		assert.NotEmpty(t, attempt.attributes["http.response.status_code"])
	}
	for outcome, want := range map[string]int64{"applied": 19, "not_applied": 1, "unknown": 0, "pending": 0} {
		assert.Equal(t, want, c.gauges["tokenpatch.fleet.change.count many "+outcome], outcome)
	}
	assert.EqualValues(t, 19, c.counts["tokenpatch.fleet.change.duration applied"])
	for _, of := range c.resources {
		assert.Equal(t, "tokenpatch", of["service.name"])
		assert.NotEmpty(t, of["service.version"])
		assert.Equal(t, "tools", of["team"])
		assert.Equal(t, c.resources[0]["service.instance.id"], of["service.instance.id"])
	}
	assert.NotContains(t, c.keys, "", "the headers were sent")
	for _, secret := range []string{tokenpatchtest.AccessToken, tokenpatchtest.APIKey, "the-secret-value", "Xyzzy12345"} {
		assert.NotContains(t, string(c.bytes), secret)
		assert.NotContains(t, e.stderr+e.stdout, secret)
	}
	for _, request := range s.service.Requests() {
		assert.Empty(t, request.Header.Values("Traceparent"))
		assert.Empty(t, request.Header.Values("Baggage"))
	}
}

// The commands in docs/command.md export to the collector named there.
func TestDocumentOfTracesAndMetrics(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	c := newCollector(t)
	s.many(2)
	_, block, found := strings.Cut(s.document("../../docs/command.md"), "\n## Traces and metrics\n")
	require.True(t, found)
	_, block, _ = strings.Cut(block, "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	require.Contains(t, block, "http://127.0.0.1:4318")
	script := strings.NewReplacer("http://127.0.0.1:4318", c.URL, "approved.jsonl", "many.jsonl").Replace(block)
	cmd := exec.Command("sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = s.dir, append([]string{"PATH=" + filepath.Dir(binary) + ":" + os.Getenv("PATH")}, s.env...)
	cmd.Env = slices.DeleteFunc(cmd.Env, func(v string) bool { return v == "PATH="+os.Getenv("PATH") })
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Len(t, c.named(tryName), 2)
	assert.Equal(t, "production", c.resources[0]["deployment.environment.name"])
}

// document returns the text of a document. It skips the test if the module is alone, and docs/ is not there.
func (s *shell) document(name string) string {
	s.t.Helper()
	content, err := os.ReadFile(name)
	if os.IsNotExist(err) && strings.HasPrefix(name, "../../docs/") {
		s.t.Skip("SKIPPED: the module is alone")
	}
	require.NoError(s.t, err)
	return string(content)
}

// plan and list are traced too: each call is a trace.
func TestTracesOfReads(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	c := newCollector(t)
	s.many(5)
	traced := s.with("OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_SERVICE_NAME=review", "OTEL_METRICS_EXPORTER=none")
	traced.run(0, "plan", "many.jsonl")
	traced.run(0, "list")
	assert.Len(t, c.named("tokenpatch GET /api/v2/tokens/{id}"), 5)
	assert.Len(t, c.named("tokenpatch GET /api/v2/tokens"), 1)
	assert.Equal(t, "review", c.resources[0]["service.name"])
	assert.Empty(t, c.counts)
}

// An interrupted run exports what it has done.
func TestTracesOfAnInterruptedRun(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	c := newCollector(t)
	s.many(60)
	s.service.SetLatency(100 * time.Millisecond)
	p := s.with("OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL).start("", "apply", "-workers", "4", "many.jsonl")
	s.until(func() bool { return s.changed(60) > 4 })
	require.NoError(t, p.Process.Signal(os.Interrupt))
	assert.Equal(t, 130, p.end().status)
	applied := 0
	for _, try := range c.named(tryName) {
		if try.attributes["tokenpatch.outcome"] == "applied" {
			applied++
		}
	}
	assert.Equal(t, s.changed(60), applied)
	assert.EqualValues(t, applied, c.gauges["tokenpatch.fleet.change.count many applied"])
	assert.EqualValues(t, 60-applied, c.gauges["tokenpatch.fleet.change.count many pending"])
}

// A dead, hanging or missing collector changes nothing, and is reported once.
func TestACollectorThatIsDown(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(40)
	s.service.SetLatency(20 * time.Millisecond)
	dying := newCollector(t)
	ended := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) { <-ended }))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(ended) })
	repeating := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "not with \x1b[31m"+r.Header.Get("Authorization")+" "+url.QueryEscape(r.Header.Get("Authorization")), http.StatusForbidden)
	}))
	t.Cleanup(repeating.Close)
	for name, url := range map[string]string{
		"dies": dying.URL, "hangs": hanging.URL, "repeats the credential": repeating.URL, "is not there": "http://127.0.0.1:1",
	} {
		t.Run(name, func(t *testing.T) {
			own := s.with("OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_METRIC_EXPORT_INTERVAL=20",
				"OTEL_EXPORTER_OTLP_HEADERS=authorization=Basic%20Xyzzy12345", "OTEL_EXPORTER_OTLP_TIMEOUT=1000")
			p := own.start("", "apply", "-fresh", "-db", name+".db", "-workers", "2", "many.jsonl")
			if name == "dies" {
				own.until(func() bool { dying.mu.Lock(); defer dying.mu.Unlock(); return len(dying.spans) > 0 })
				dying.CloseClientConnections()
				dying.Close()
			}
			e := p.end()
			assert.Equal(t, 0, e.status, e.stderr)
			assert.Contains(t, e.stdout, "40 applied")
			assert.Contains(t, e.stderr, "traces or metrics could not be exported")
			told := map[string]int{}
			for line := range strings.Lines(e.stderr) {
				if _, text, found := strings.Cut(line, " error="); found {
					told[text]++
				}
			}
			for text, times := range told {
				assert.Equal(t, 1, times, text)
			}
			assert.NotContains(t, e.stderr, "Xyzzy")
			assert.NotContains(t, e.stderr, "\x1b")
		})
	}
}

// The bar stays whole, whatever is told beside it.
func TestBarWithoutACollector(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(30)
	s.service.SetLatency(100 * time.Millisecond)
	written := s.with("OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY=10", "OTEL_EXPORTER_OTLP_TIMEOUT=100").
		terminal("apply", "-yes", "-workers", "2", "many.jsonl")
	assert.Contains(t, written, "traces or metrics could not be exported")
	for _, line := range strings.FieldsFunc(written, func(r rune) bool { return r == '\n' || r == '\r' }) {
		line = escape.ReplaceAllString(line, "")
		if strings.Contains(line, "traces or metrics") {
			assert.True(t, strings.HasPrefix(line, "time="), "%q is on a line of its own", line)
		}
	}
	assert.Contains(t, written, "many: 30 changes: 30 applied, 0 not applied, 0 unknown, 0 pending\r\n")
}

// Nothing is exported unasked.
func TestNoTelemetry(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	c := newCollector(t)
	s.many(1)
	for _, variables := range [][]string{
		{},
		{"OTEL_SERVICE_NAME=review", "OTEL_TRACES_SAMPLER=nonsense", "OTEL_BSP_SCHEDULE_DELAY=soon"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_SDK_DISABLED=TRUE"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.URL, "OTEL_TRACES_EXPORTER=none", "OTEL_METRICS_EXPORTER=none"},
	} {
		e := s.with(variables...).run(0, "apply", "-progress", "none", "many.jsonl")
		assert.NotContains(t, e.stderr, "OTEL", variables)
		assert.NotContains(t, e.stderr, "traces", variables)
	}
	assert.Empty(t, c.bytes)
}

// What is wrong with a variable is told before anything is sent.
func TestMistakesInTheEnvironment(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for want, variables := range map[string][]string{
		`OTEL_TRACES_EXPORTER "zipkin": want one of otlp, console, none`:              {"OTEL_TRACES_EXPORTER=zipkin"},
		`OTEL_METRICS_EXPORTER "statsd": want one of otlp, console, none, prometheus`: {"OTEL_METRICS_EXPORTER=statsd"},
		`OTEL_SDK_DISABLED "yes": want one of true, false`:                            {"OTEL_SDK_DISABLED=yes"},
		`OTEL_EXPORTER_OTLP_PROTOCOL "http/json": want one of http/protobuf, grpc`:    {"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=http/json"},
		`OTEL_EXPORTER_OTLP_METRICS_PROTOCOL "x": want one of http/protobuf, grpc`:    {"OTEL_METRICS_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=x"},
		`OTEL_EXPORTER_OTLP_ENDPOINT "collector:4318": want a URL such as`:            {"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318"},
		`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: want a URL without a user or a password`: {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=https://Xyzzy:Xyzzy@collector:4318"},
		`OTEL_EXPORTER_OTLP_HEADERS: want key=value, separated by commas`:             {"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_HEADERS=Xyzzy"},
		`OTEL_EXPORTER_OTLP_TIMEOUT "10s": want a whole number, 1 or more`:            {"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_TIMEOUT=10s"},
		`OTEL_EXPORTER_OTLP_COMPRESSION "zstd": want one of gzip, none`:               {"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_COMPRESSION=zstd"},
		`OTEL_*: `: {"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_CERTIFICATE=none.pem"},
		`OTEL_BSP_SCHEDULE_DELAY "soon": want a whole number, 1 or more`:                        {"OTEL_TRACES_EXPORTER=otlp", "OTEL_BSP_SCHEDULE_DELAY=soon"},
		`OTEL_METRIC_EXPORT_INTERVAL "0": want a whole number, 1 or more`:                       {"OTEL_TRACES_EXPORTER=otlp", "OTEL_METRIC_EXPORT_INTERVAL=0"},
		`OTEL_TRACES_SAMPLER "sometimes": want one of always_on`:                                {"OTEL_TRACES_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=sometimes"},
		`OTEL_TRACES_SAMPLER_ARG "10%": want a share, 0 to 1`:                                   {"OTEL_TRACES_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=10%"},
		`OTEL_RESOURCE_ATTRIBUTES: `:                                                            {"OTEL_TRACES_EXPORTER=otlp", "OTEL_RESOURCE_ATTRIBUTES=team"},
		`OTEL_EXPORTER_PROMETHEUS_PORT "http": want a whole number, 0 or more`:                  {"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT=http"},
		`OTEL_METRICS_EXPORTER "prometheus": binding address 127.0.0.1:` + port + ` for Promet`: {"OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST=127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_PORT=" + port},
	} {
		e := s.with(variables...).run(1, "apply", "many.jsonl")
		assert.Contains(t, e.stderr, "tokenpatch apply: "+want, variables)
		assert.NotContains(t, e.stderr, "Xyzzy")
		assert.Empty(t, e.stdout)
	}
	assert.Zero(t, s.service.RequestCount())
	assert.NoFileExists(t, s.dir+"/tokenpatch.db")
}

// Without a named collector, the standard's is used: on this machine, in plain text.
func TestTheStandardsCollector(t *testing.T) {
	t.Parallel()
	for protocol, address := range map[string]string{"http/protobuf": "127.0.0.1:4318", "grpc": "127.0.0.1:4317"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Skip("something else listens there: ", err)
		}
		s := newShell(t)
		s.many(1)
		begun := make(chan string, 1)
		var reading sync.WaitGroup
		reading.Go(func() {
			defer close(begun)
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			defer connection.Close()
			first := make([]byte, 3)
			_, err = io.ReadFull(connection, first)
			assert.NoError(t, err)
			begun <- string(first)
		})
		s.with("OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_EXPORTER_OTLP_TIMEOUT=500").run(0, "apply", "many.jsonl")
		require.NoError(t, listener.Close())
		reading.Wait()
		assert.Contains(t, []string{"POS", "PRI"}, <-begun, "%s: a request, not a TLS handshake", protocol)
	}
}

// console writes beside the report, not into it.
func TestConsoleExporter(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(1)
	e := s.with("OTEL_TRACES_EXPORTER=console", "OTEL_METRICS_EXPORTER=console").run(0, "apply", "many.jsonl")
	assert.Equal(t, "many: 1 change: 1 applied, 0 not applied, 0 unknown, 0 pending\n", e.stdout)
	assert.Contains(t, e.stderr, `"Name":"tokenpatch change"`)
	assert.Contains(t, e.stderr, `"Name":"tokenpatch.fleet.change.count"`)
}

// OTEL_EXPORTER_OTLP_PROTOCOL=grpc selects gRPC.
func TestGRPC(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(3)
	c := newGRPCCollector(t)
	e := s.with("OTEL_EXPORTER_OTLP_ENDPOINT=http://"+c.address, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc").run(0, "apply", "many.jsonl")
	assert.NotContains(t, e.stderr, "traces or metrics")
	c.mu.Lock()
	defer c.mu.Unlock()
	assert.Len(t, c.named(tryName), 3)
	assert.EqualValues(t, 3, c.gauges["tokenpatch.fleet.change.count many applied"])
}

// Prometheus reads how far the run is while it lasts.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.many(1000) // more than are changed before the page is read
	s.service.SetLatency(100 * time.Millisecond)
	port := freePort()
	p := s.with("OTEL_METRICS_EXPORTER=prometheus", "OTEL_EXPORTER_PROMETHEUS_HOST=127.0.0.1", "OTEL_EXPORTER_PROMETHEUS_PORT="+port).
		start("", "apply", "-workers", "2", "many.jsonl")
	s.until(func() bool {
		response, err := http.Get("http://127.0.0.1:" + port + "/metrics")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		page, _ := io.ReadAll(response.Body)
		return bytes.Contains(page, []byte(`tokenpatch_fleet_change_count{`)) && bytes.Contains(page, []byte(`tokenpatch_outcome="pending"`)) &&
			bytes.Contains(page, []byte("http_client_request_duration_seconds_count"))
	})
	require.NoError(t, p.Process.Signal(os.Interrupt))
	assert.Equal(t, 130, p.end().status)
}

// freePort returns a port that nobody listens on. It is below those which the system gives to whoever asks for any: one of
// these could be taken before the caller uses it.
func freePort() string {
	for {
		port := fmt.Sprint(20_000 + rand.IntN(10_000))
		if l, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			_ = l.Close()
			return port
		}
	}
}

// The console exporter sends no control character to a terminal.
func TestConsoleExporterIsPrintable(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Status: http.StatusForbidden, Header: http.Header{"X-Request-Id": {"a\u009b31m"}},
		Body: `{"code":"a\u009b31m","message":"no"}`})
	s.file("x.jsonl", `{"api":"v2","id":"token0","want":{"role":"reader"}}`)
	e := s.with("OTEL_TRACES_EXPORTER=console").run(3, "apply", "x.jsonl")
	assert.Contains(t, e.stderr, "\ufffd31m")
	assert.NotContains(t, e.stderr+e.stdout, "\u009b")
}
