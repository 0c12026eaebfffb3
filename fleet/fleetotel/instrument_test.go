package fleetotel_test

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/fleetotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	idV1    = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	newName = "deployer-of-everything"
	try     = "tokenpatch change"
)

// bench is a service, a store, and a memory of spans and metrics.
type bench struct {
	*testing.T
	service   *tokenpatchtest.Service
	store     *fleet.Store
	options   fleet.Options
	telemetry tokenpatchotel.Options
	spans     *tracetest.SpanRecorder
	reader    *metric.ManualReader
}

func newBench(t *testing.T) *bench {
	store, err := fleet.Open(context.Background(), filepath.Join(t.TempDir(), "run.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	b := &bench{T: t, service: tokenpatchtest.New(), store: store, spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	t.Cleanup(b.service.Close)
	b.telemetry = tokenpatchotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(b.spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(b.reader)),
	}
	b.options = fleet.Options{ServiceTime: 100 * time.Millisecond, Client: tokenpatch.Config{
		HTTPClient: &http.Client{Transport: b.service.Client().Transport, Timeout: time.Second},
		Retry:      tokenpatch.RetryPolicy{MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond},
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
	}}
	return b
}

// rename adds n tokens of V2, and a change for each to the run "review".
func (b *bench) rename(n int) {
	for i := range n {
		require.NoError(b, b.service.AddV2(fmt.Sprintf(`{"_id": "token-%d", "name": "old", "token": "api-the-secret-value"}`, i)))
		b.add(fleet.Change{ID: fmt.Sprint("token-", i), Want: &fleet.Want{Name: tokenpatch.Set(newName)}})
	}
}

func (b *bench) add(change fleet.Change) {
	_, err := b.store.Add(context.Background(), "review", func(yield func(fleet.Change, error) bool) { yield(change, nil) }, fleet.AddOptions{})
	require.NoError(b, err)
}

// run works on the run "review" to its end.
func (b *bench) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	options, err := fleetotel.Instrument(b.options, b.telemetry)
	require.NoError(b, err)
	require.NoError(b, b.store.Run(ctx, "review", options))
	assert.Len(b, b.spans.Started(), len(b.spans.Ended()), "every span has ended")
}

// everything makes a run with all kinds of spans and metrics: changes of both APIs that are
// applied, refused, put off and left unknown.
func everything(t *testing.T) *bench {
	b := newBench(t)
	b.rename(20)
	require.NoError(b, b.service.AddV1(`{"id": "`+idV1+`"}`))
	b.add(fleet.Change{ID: idV1, Update: &tokenpatch.TokenUpdate{Name: tokenpatch.Set(newName)}})
	b.add(fleet.Change{ID: "missing", Want: &fleet.Want{Name: tokenpatch.Set(newName)}})
	require.NoError(b, b.service.AddV2(`{"_id": "append", "customRoleIds": ["first"]}`))
	b.add(fleet.Change{ID: "append", Patch: tokenpatch.NewPatch().AddCustomRoleID("second")})
	b.service.Inject(
		tokenpatchtest.Fault{Match: patches("append"), Cut: tokenpatchtest.CutBefore},
		tokenpatchtest.Fault{Match: patches("token-3"), Status: http.StatusServiceUnavailable},
		tokenpatchtest.Fault{Match: patches("token-5"), Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: patches("token-7"), Status: http.StatusForbidden, Body: `{"code": "forbidden", "message": "not with ` + tokenpatchtest.AccessToken + `"}`},
	)
	b.run(context.Background())
	return b
}

func patches(id string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == http.MethodPatch && filepath.Base(r.URL.Path) == id }
}

// tries are the ended spans of tries, by the token's id.
func (b *bench) tries() map[string][]sdktrace.ReadOnlySpan {
	tries := map[string][]sdktrace.ReadOnlySpan{}
	for _, span := range b.spans.Ended() {
		if span.Name() == try {
			id := attributes(span)["tokenpatch.token.id"]
			tries[id] = append(tries[id], span)
		}
	}
	return tries
}

// below are the ended spans of a trace by the name of the span above each of them.
func (b *bench) below(top sdktrace.ReadOnlySpan) map[string][]string {
	names := map[trace.SpanID]string{}
	for _, span := range b.spans.Ended() {
		names[span.SpanContext().SpanID()] = span.Name()
	}
	below := map[string][]string{}
	for _, span := range b.spans.Ended() {
		if span.SpanContext().TraceID() == top.SpanContext().TraceID() && span.Parent().IsValid() {
			above := names[span.Parent().SpanID()]
			below[above] = append(below[above], span.Name())
		}
	}
	return below
}

func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	texts := map[string]string{}
	for _, a := range span.Attributes() {
		texts[string(a.Key)] = a.Value.String()
	}
	return texts
}

// metrics collects what was measured, by name.
func (b *bench) metrics() map[string]metricdata.Metrics {
	var collected metricdata.ResourceMetrics
	require.NoError(b, b.reader.Collect(context.Background(), &collected))
	metrics := map[string]metricdata.Metrics{}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			metrics[m.Name] = m
		}
	}
	return metrics
}

// points are the values of a metric, or how often it was measured, by its attributes.
func points(t testing.TB, m metricdata.Metrics) map[string]int {
	t.Helper()
	found := map[string]int{}
	switch data := m.Data.(type) {
	case metricdata.Gauge[int64]:
		for _, point := range data.DataPoints {
			found[textOf(point.Attributes)] = int(point.Value)
		}
	case metricdata.Histogram[float64]:
		for _, point := range data.DataPoints {
			found[textOf(point.Attributes)] = int(point.Count)
		}
	default:
		assert.Fail(t, "an instrument of another kind", "%s: %T", m.Name, m.Data)
	}
	return found
}

func textOf(set attribute.Set) string {
	var pairs []string
	for _, a := range set.ToSlice() {
		pairs = append(pairs, string(a.Key)+"="+a.Value.String())
	}
	return strings.Join(pairs, ",")
}

func TestSpans(t *testing.T) {
	b := everything(t)
	tries := b.tries()
	require.Len(t, tries, 23)
	last := func(id string) sdktrace.ReadOnlySpan { return tries[id][len(tries[id])-1] } // a busy machine puts changes off
	assert.Equal(t, map[string]string{
		"tokenpatch.fleet.run": "review", "tokenpatch.api": "V2", "tokenpatch.token.id": "token-0", "tokenpatch.outcome": "applied", "tokenpatch.attempts": "1",
	}, attributes(last("token-0")))
	assert.Equal(t, codes.Unset, last("token-0").Status().Code)
	assert.Equal(t, trace.SpanKindInternal, last("token-0").SpanKind())
	assert.Equal(t, "V1", attributes(last(idV1))["tokenpatch.api"])
	assert.Equal(t, "2", attributes(last("token-3"))["tokenpatch.attempts"])

	for id, want := range map[string][2]string{
		"token-7": {"not_applied", "ForbiddenError"},
		"missing": {"not_applied", "NotFoundError"},
		"append":  {"unknown", "errorString"},
	} {
		assert.Equal(t, want, [2]string{attributes(last(id))["tokenpatch.outcome"], attributes(last(id))["error.type"]}, id)
		assert.Equal(t, codes.Error, last(id).Status().Code, id)
		assert.NotEmpty(t, last(id).Status().Description, id)
	}
	assert.Equal(t, "pending", attributes(tries["append"][0])["tokenpatch.outcome"], "its first attempt had no outcome")
	assert.NotEmpty(t, attributes(tries["append"][0])["error.type"])

	traces := map[trace.TraceID]bool{}
	for id, spans := range tries {
		for _, span := range spans {
			assert.False(t, traces[span.SpanContext().TraceID()], "%s: a try is a trace of its own", id)
			traces[span.SpanContext().TraceID()] = true
			assert.Empty(t, span.Links(), "Run was called in no span")
		}
	}
	for _, span := range b.spans.Ended() {
		assert.True(t, traces[span.SpanContext().TraceID()], "%s is outside of every try", span.Name())
	}
	below := b.below(last("token-3"))
	assert.Equal(t, []string{"tokenpatch GET /api/v2/tokens/{id}", "tokenpatch PATCH /api/v2/tokens/{id}"}, below[try])
	var attempts int
	for _, name := range below["tokenpatch PATCH /api/v2/tokens/{id}"] {
		if name == "PATCH /api/v2/tokens/{id}" {
			attempts++
		}
	}
	assert.Equal(t, 2, attempts, "%v", below)
}

// The span around Run is linked to, and is above nothing.
func TestLink(t *testing.T) {
	b := newBench(t)
	b.rename(3)
	ctx, span := b.telemetry.TracerProvider.Tracer("mine").Start(context.Background(), "nightly")
	options, err := fleetotel.Instrument(b.options, b.telemetry)
	require.NoError(t, err)
	require.NoError(t, b.store.Run(ctx, "review", options))
	span.End()
	for id, tries := range b.tries() {
		require.Len(t, tries[0].Links(), 1, id)
		assert.Equal(t, span.SpanContext().SpanID(), tries[0].Links()[0].SpanContext.SpanID())
		assert.False(t, tries[0].Parent().IsValid())
		assert.NotEqual(t, span.SpanContext().TraceID(), tries[0].SpanContext().TraceID())
	}
}

func TestMetrics(t *testing.T) {
	b := everything(t)
	p, err := b.store.Progress(context.Background(), "review")
	require.NoError(t, err)
	metrics := b.metrics()
	assert.Equal(t, map[string]int{
		"tokenpatch.fleet.run=review,tokenpatch.outcome=applied":     p.Applied,
		"tokenpatch.fleet.run=review,tokenpatch.outcome=not_applied": p.NotApplied,
		"tokenpatch.fleet.run=review,tokenpatch.outcome=unknown":     p.Unknown,
		"tokenpatch.fleet.run=review,tokenpatch.outcome=pending":     0,
	}, points(t, metrics["tokenpatch.fleet.change.count"]))
	assert.Equal(t, 23, p.Total())
	durations := points(t, metrics["tokenpatch.fleet.change.duration"])
	for set, want := range map[string]int{
		"tokenpatch.api=V1,tokenpatch.outcome=applied":                               1,
		"error.type=NotFoundError,tokenpatch.api=V2,tokenpatch.outcome=not_applied":  1,
		"error.type=ForbiddenError,tokenpatch.api=V2,tokenpatch.outcome=not_applied": 1,
		"tokenpatch.api=V2,tokenpatch.outcome=applied":                               p.Applied - 1,
		"error.type=errorString,tokenpatch.api=V2,tokenpatch.outcome=unknown":        1,
	} {
		assert.Equal(t, want, durations[set], "%s of %v", set, durations)
	}
	assert.GreaterOrEqual(t, durations["error.type=OutcomeUnknownError,tokenpatch.api=V2,tokenpatch.outcome=pending"], 1)
	assert.Contains(t, metrics, "http.client.request.duration", "the client is instrumented too")
}

// No secret and no id leaks.
func TestNothingLeaks(t *testing.T) {
	b := everything(t)
	for _, span := range b.spans.Ended() {
		shown := fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events(), span.Links())
		for _, secret := range []string{tokenpatchtest.AccessToken, tokenpatchtest.APIKey, newName, "secret-value"} {
			assert.NotContains(t, shown, secret)
		}
	}
	for name, m := range b.metrics() {
		shown := fmt.Sprintf("%+v", m.Data)
		for _, secret := range []string{tokenpatchtest.AccessToken, tokenpatchtest.APIKey, newName, "secret-value", "token-", idV1, "missing", "append"} {
			assert.NotContains(t, shown, secret, name)
		}
	}
}

// The caller's own hooks are called within the spans. One that drops the context loses its spans,
// and nothing else.
func TestCallersHooks(t *testing.T) {
	b := newBench(t)
	b.rename(4)
	var mu sync.Mutex
	seen := map[string]int{}
	note := func(what string, ctx context.Context) {
		mu.Lock()
		defer mu.Unlock()
		seen[what]++
		if trace.SpanContextFromContext(ctx).IsValid() {
			seen["in a span"]++
		}
	}
	b.options.Hooks = fleet.Hooks{
		ChangeStart: func(ctx context.Context, change fleet.ChangeInfo) context.Context {
			note("ChangeStart", ctx)
			if change.Token == "token-2" {
				return context.Background()
			}
			return nil
		},
		ChangeEnd: func(ctx context.Context, _ fleet.ChangeResult) { note("ChangeEnd", ctx) },
		Progress:  func(context.Context, fleet.Progress) { note("Progress", context.Background()) },
	}
	options, err := fleetotel.Instrument(b.options, b.telemetry)
	require.NoError(t, err)
	require.NoError(t, b.store.Run(context.Background(), "review", options))
	assert.Equal(t, 4, seen["ChangeStart"])
	assert.Equal(t, 4, seen["ChangeEnd"])
	assert.Equal(t, 7, seen["in a span"])
	assert.GreaterOrEqual(t, seen["Progress"], 2)
	assert.Len(t, b.tries(), 3)
	assert.Equal(t, map[string]int{"tokenpatch.api=V2,tokenpatch.outcome=applied": 4}, points(t, b.metrics()["tokenpatch.fleet.change.duration"]))
}
