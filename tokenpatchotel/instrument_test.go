package tokenpatchotel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const (
	idV1 = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
	idV2 = "61095542756dba551110ae21"

	newName = "deployer-of-everything"

	callV2    = "tokenpatch PATCH /api/v2/tokens/{id}"
	attemptV2 = "PATCH /api/v2/tokens/{id}"
	waited    = "tokenpatch wait"
)

// instrumented is a client with traces and metrics in memory, and its service.
type instrumented struct {
	client  *tokenpatch.Client
	service *tokenpatchtest.Service
	spans   *tracetest.SpanRecorder
	reader  *metric.ManualReader
}

func instrument(t testing.TB, change ...func(*tokenpatch.Config, *tokenpatchotel.Options)) *instrumented {
	t.Helper()
	i := &instrumented{service: tokenpatchtest.New(), spans: tracetest.NewSpanRecorder(), reader: metric.NewManualReader()}
	t.Cleanup(i.service.Close)
	require.NoError(t, i.service.AddV1(`{"id": "`+idV1+`"}`))
	require.NoError(t, i.service.AddV2(`{"_id": "`+idV2+`", "name": "before"}`))
	config := tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: i.service.Client(),
	}
	options := tokenpatchotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(i.spans)),
		MeterProvider:  metric.NewMeterProvider(metric.WithReader(i.reader)),
	}
	for _, f := range change {
		f(&config, &options)
	}
	config, err := tokenpatchotel.Instrument(config, options)
	require.NoError(t, err)
	i.client, err = tokenpatch.NewClient(config)
	require.NoError(t, err)
	t.Cleanup(i.client.CloseIdleConnections)
	return i
}

func (i *instrumented) rename(ctx context.Context) error {
	_, err := i.client.V2.PatchToken(ctx, idV2, tokenpatch.NewPatch().SetName(newName))
	return err
}

func (i *instrumented) update(ctx context.Context) error {
	return i.client.V1.UpdateToken(ctx, uuid.MustParse(idV1), tokenpatch.TokenUpdate{Name: tokenpatch.Set(newName)})
}

// named lists the ended spans of a name, in the order of their ends.
func (i *instrumented) named(name string) []sdktrace.ReadOnlySpan {
	var spans []sdktrace.ReadOnlySpan
	for _, span := range i.spans.Ended() {
		if span.Name() == name {
			spans = append(spans, span)
		}
	}
	return spans
}

// metrics collects what was measured, by name.
func (i *instrumented) metrics(t testing.TB) map[string]metricdata.Metrics {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, i.reader.Collect(context.Background(), &collected))
	metrics := map[string]metricdata.Metrics{}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			metrics[m.Name] = m
		}
	}
	return metrics
}

// attributes are those of a span, as text.
func attributes(span sdktrace.ReadOnlySpan) map[string]string {
	texts := map[string]string{}
	for _, a := range span.Attributes() {
		texts[string(a.Key)] = a.Value.String()
	}
	return texts
}

func TestSpansOfACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		i.service.Inject(tokenpatchtest.Fault{Status: http.StatusServiceUnavailable})
		require.NoError(t, i.rename(context.Background()))

		calls, attempts, waits := i.named(callV2), i.named(attemptV2), i.named(waited)
		require.Len(t, calls, 1)
		require.Len(t, attempts, 2)
		require.Len(t, waits, 1)
		assert.Equal(t, map[string]string{
			"tokenpatch.api": "V2", "tokenpatch.token.id": idV2, "tokenpatch.outcome": "applied", "tokenpatch.attempts": "2",
			"tokenpatch.wait.duration": fmt.Sprint(waits[0].EndTime().Sub(waits[0].StartTime()).Seconds()),
		}, attributes(calls[0]))
		assert.Equal(t, trace.SpanKindInternal, calls[0].SpanKind(), "a call is no HTTP request")
		assert.Equal(t, codes.Unset, calls[0].Status().Code)

		assert.Equal(t, map[string]string{"tokenpatch.wait.reason": "backoff"}, attributes(waits[0]))
		assert.Positive(t, waits[0].EndTime().Sub(waits[0].StartTime()))

		common := map[string]string{
			"http.request.method": "PATCH", "server.address": "app.launchdarkly.com", "server.port": "443",
			"url.full": "https://app.launchdarkly.com/api/v2/tokens/" + idV2, "url.template": "/api/v2/tokens/{id}", "tokenpatch.api": "V2",
		}
		assert.Equal(t, with(common, "http.response.status_code", "503", "error.type", "503", "tokenpatch.code", "service_unavailable", "tokenpatch.outcome", "unknown"), attributes(attempts[0]))
		assert.Equal(t, codes.Error, attempts[0].Status().Code)
		assert.Equal(t, with(common, "http.response.status_code", "200", "http.request.resend_count", "1", "tokenpatch.outcome", "applied"), attributes(attempts[1]))
		for _, span := range append(attempts, waits...) {
			assert.Equal(t, calls[0].SpanContext().SpanID(), span.Parent().SpanID(), "%s belongs to the call", span.Name())
		}
		for _, span := range attempts {
			assert.Equal(t, trace.SpanKindClient, span.SpanKind())
		}
	})
}

// with is a map and some more pairs.
func with(m map[string]string, pairs ...string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, m)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

// A trace explains four minutes: one wait, and its reason.
func TestSpanOfALongWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		i.service.Inject(tokenpatchtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"240"}}})
		require.NoError(t, i.rename(context.Background()))
		waits := i.named(waited)
		require.Len(t, waits, 1)
		assert.GreaterOrEqual(t, waits[0].EndTime().Sub(waits[0].StartTime()), 4*time.Minute)
		assert.Equal(t, "retry_after", attributes(waits[0])["tokenpatch.wait.reason"])
	})
}

func TestSpansOfFailures(t *testing.T) {
	tests := map[string]struct {
		fault         tokenpatchtest.Fault
		attempt, call string // error.type
		outcome       string
	}{
		"refused":           {tokenpatchtest.Fault{Status: 404}, "404", "NotFoundError", "not_applied"},
		"broken":            {tokenpatchtest.Fault{Cut: tokenpatchtest.CutAfter, Times: -1}, "*errors.errorString", "OutcomeUnknownError", "unknown"},
		"a page of a proxy": {tokenpatchtest.Fault{Status: 502, Body: "<html>", Times: -1}, "502", "OutcomeUnknownError", "unknown"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := instrument(t)
				i.service.Inject(test.fault)
				err := i.rename(context.Background())
				require.Error(t, err)
				call, attempt := i.named(callV2)[0], i.named(attemptV2)[0]
				assert.Equal(t, test.call, attributes(call)["error.type"], "%v", err)
				assert.Equal(t, test.outcome, attributes(call)["tokenpatch.outcome"])
				assert.Equal(t, codes.Error, call.Status().Code)
				assert.Equal(t, test.attempt, attributes(attempt)["error.type"])
				assert.Equal(t, codes.Error, attempt.Status().Code)
			})
		})
	}
}

// A call canceled by its caller is no error.
func TestSpansOfACanceledCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		i.service.SetLatency(time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(100*time.Millisecond, cancel)
		require.ErrorIs(t, i.rename(ctx), context.Canceled)
		for _, span := range i.spans.Ended() {
			assert.NotContains(t, attributes(span), "error.type", span.Name())
			assert.Equal(t, codes.Unset, span.Status().Code, span.Name())
		}
		assert.NotEmpty(t, i.named(attemptV2))
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		i.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 10 * time.Second, Global: 5, Route: 3, Credential: 4})
		i.service.Inject(tokenpatchtest.Fault{API: tokenpatchtest.V2, Status: 404})
		assert.Error(t, i.rename(context.Background()))
		require.NoError(t, i.rename(context.Background()))
		require.NoError(t, i.update(context.Background()))

		metrics := i.metrics(t)
		requests := counts(t, metrics["http.client.request.duration"])
		assert.Equal(t, map[string]uint64{
			"http.request.method=PATCH,http.response.status_code=200,server.address=app.launchdarkly.com,server.port=443,url.template=/api/v2/tokens/{id}":                1,
			"error.type=404,http.request.method=PATCH,http.response.status_code=404,server.address=app.launchdarkly.com,server.port=443,url.template=/api/v2/tokens/{id}": 1,
			"http.request.method=PATCH,http.response.status_code=204,server.address=api.cloud.deepset.ai,server.port=443,url.template=/api/v1/token/{api_token_id}":       1,
		}, requests)
		assert.Equal(t, map[string]uint64{
			"error.type=NotFoundError,tokenpatch.api=V2,tokenpatch.outcome=not_applied,tokenpatch.route=PATCH /api/v2/tokens/{id}": 1,
			"tokenpatch.api=V2,tokenpatch.outcome=applied,tokenpatch.route=PATCH /api/v2/tokens/{id}":                              1,
			"tokenpatch.api=V1,tokenpatch.outcome=applied,tokenpatch.route=PATCH /api/v1/token/{api_token_id}":                     1,
		}, counts(t, metrics["tokenpatch.client.call.duration"]))
		assert.Equal(t, map[string]int64{
			"server.address=app.launchdarkly.com,tokenpatch.api=V2,tokenpatch.quota=global":                    4,
			"server.address=app.launchdarkly.com,tokenpatch.api=V2,tokenpatch.quota=credential":                3,
			"server.address=app.launchdarkly.com,tokenpatch.api=V2,tokenpatch.quota=PATCH /api/v2/tokens/{id}": 2,
		}, gauges(t, metrics["tokenpatch.client.quota.remaining"]))
	})
}

// Waiting calls are counted while they wait, by whatever their waiting ends.
func TestWaitingCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		i.service.RefuseFor(tokenpatchtest.V2, 4*time.Minute)
		ctx, cancel := context.WithCancel(context.Background())
		var calls sync.WaitGroup
		var errs [5]error
		for n := range errs {
			calls.Go(func() { errs[n] = i.rename(ctx) })
		}
		time.Sleep(time.Minute)
		waiting := func() map[string]int64 {
			sum := i.metrics(t)["tokenpatch.client.waiting_calls"].Data.(metricdata.Sum[int64])
			assert.False(t, sum.IsMonotonic)
			return points(sum.DataPoints)
		}
		assert.Equal(t, map[string]int64{"tokenpatch.api=V2": 5}, waiting())
		cancel()
		calls.Wait()
		assert.Equal(t, map[string]int64{"tokenpatch.api=V2": 0}, waiting())
		assert.Error(t, errors.Join(errs[:]...))
		assert.Len(t, i.spans.Started(), len(i.spans.Ended()), "every span has ended")
	})
}

// counts returns how often each set of attributes was measured.
func counts(t testing.TB, m metricdata.Metrics) map[string]uint64 {
	t.Helper()
	histogram, ok := m.Data.(metricdata.Histogram[float64])
	require.True(t, ok, "%s: %T", m.Name, m.Data)
	found := map[string]uint64{}
	for _, point := range histogram.DataPoints {
		found[textOf(point.Attributes)] = point.Count
	}
	return found
}

func gauges(t testing.TB, m metricdata.Metrics) map[string]int64 {
	t.Helper()
	gauge, ok := m.Data.(metricdata.Gauge[int64])
	require.True(t, ok, "%s: %T", m.Name, m.Data)
	return points(gauge.DataPoints)
}

func points(data []metricdata.DataPoint[int64]) map[string]int64 {
	found := map[string]int64{}
	for _, point := range data {
		found[textOf(point.Attributes)] = point.Value
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

// The header goes to another company: only who asks for it sends it.
func TestPropagation(t *testing.T) {
	i := instrument(t)
	require.NoError(t, i.rename(context.Background()))
	assert.Empty(t, i.service.Requests()[0].Header.Values("traceparent"))

	i = instrument(t, func(_ *tokenpatch.Config, o *tokenpatchotel.Options) { o.Propagator = propagation.TraceContext{} })
	require.NoError(t, i.rename(context.Background()))
	attempt := i.named(attemptV2)[0].SpanContext()
	assert.Contains(t, i.service.Requests()[0].Header.Get("traceparent"), attempt.TraceID().String()+"-"+attempt.SpanID().String())
}

// The caller's own hooks are called within the spans, and may do what hooks may do.
func TestCallersHooks(t *testing.T) {
	var seen []string
	var inCall, inAttempt trace.SpanContext
	note := func(what string) { seen = append(seen, what) }
	i := instrument(t, func(c *tokenpatch.Config, _ *tokenpatchotel.Options) {
		c.Hooks = tokenpatch.Hooks{
			CallStart: func(ctx context.Context, _ tokenpatch.CallInfo) context.Context {
				note("CallStart")
				inCall = trace.SpanContextFromContext(ctx)
				return nil
			},
			AttemptStart: func(ctx context.Context, a *tokenpatch.AttemptInfo) context.Context {
				note("AttemptStart")
				inAttempt = trace.SpanContextFromContext(ctx)
				a.Header.Set("X-Own", "yes")
				return ctx
			},
			AttemptEnd: func(context.Context, tokenpatch.AttemptResult) { note("AttemptEnd") },
			CallEnd:    func(context.Context, tokenpatch.CallResult) { note("CallEnd") },
		}
	})
	require.NoError(t, i.rename(context.Background()))
	assert.Equal(t, []string{"CallStart", "AttemptStart", "AttemptEnd", "CallEnd"}, seen)
	assert.Equal(t, i.named(callV2)[0].SpanContext().SpanID(), inCall.SpanID())
	assert.Equal(t, i.named(attemptV2)[0].SpanContext().SpanID(), inAttempt.SpanID())
	assert.Equal(t, "yes", i.service.Requests()[0].Header.Get("X-Own"))
}

// A hook that drops the context loses the spans of its calls, and nothing else.
func TestHooksThatLoseTheContext(t *testing.T) {
	i := instrument(t, func(c *tokenpatch.Config, _ *tokenpatchotel.Options) {
		c.Hooks.CallStart = func(context.Context, tokenpatch.CallInfo) context.Context { return context.Background() }
		c.Hooks.AttemptStart = func(context.Context, *tokenpatch.AttemptInfo) context.Context { return context.Background() }
	})
	i.service.Inject(tokenpatchtest.Fault{Status: http.StatusConflict})
	require.NoError(t, i.rename(context.Background()))
	assert.Equal(t, map[string]uint64{
		"tokenpatch.api=V2,tokenpatch.outcome=applied,tokenpatch.route=PATCH /api/v2/tokens/{id}": 1,
	}, counts(t, i.metrics(t)["tokenpatch.client.call.duration"]))
}

// A sampler sees of an attempt and of a call what is known when they begin.
func TestSamplersSeeAttributes(t *testing.T) {
	seen := map[string][]attribute.KeyValue{}
	i := instrument(t, func(_ *tokenpatch.Config, o *tokenpatchotel.Options) {
		o.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSampler(sampler(seen)))
	})
	require.NoError(t, i.rename(context.Background()))
	assert.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("http.request.method", "PATCH"), attribute.String("server.address", "app.launchdarkly.com"), attribute.Int("server.port", 443),
		attribute.String("url.full", "https://app.launchdarkly.com/api/v2/tokens/"+idV2), attribute.String("url.template", "/api/v2/tokens/{id}"),
		attribute.String("tokenpatch.api", "V2"),
	}, seen[attemptV2])
	assert.ElementsMatch(t, []attribute.KeyValue{
		attribute.String("tokenpatch.api", "V2"), attribute.String("tokenpatch.token.id", idV2),
	}, seen[callV2])
}

// sampler keeps what it is asked about, by the span's name, and takes none.
type sampler map[string][]attribute.KeyValue

func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	s[p.Name] = p.Attributes
	return sdktrace.SamplingResult{Decision: sdktrace.Drop}
}

func (s sampler) Description() string { return "none" }

// A panicking hook leaves no call waiting, and no finished wait or attempt open.
func TestHooksThatPanic(t *testing.T) {
	for name, hooks := range map[string]tokenpatch.Hooks{
		"WaitStart":  {WaitStart: func(context.Context, tokenpatch.WaitInfo) { panic("own") }},
		"WaitEnd":    {WaitEnd: func(context.Context, tokenpatch.WaitInfo) { panic("own") }},
		"AttemptEnd": {AttemptEnd: func(context.Context, tokenpatch.AttemptResult) { panic("own") }},
		"CallEnd":    {CallEnd: func(context.Context, tokenpatch.CallResult) { panic("own") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				i := instrument(t, func(c *tokenpatch.Config, _ *tokenpatchotel.Options) { c.Hooks = hooks })
				i.service.Inject(tokenpatchtest.Fault{Status: http.StatusServiceUnavailable})
				assert.PanicsWithValue(t, "own", func() { _ = i.rename(context.Background()) })
				if waiting, ok := i.metrics(t)["tokenpatch.client.waiting_calls"]; ok {
					assert.Equal(t, map[string]int64{"tokenpatch.api=V2": 0}, points(waiting.Data.(metricdata.Sum[int64]).DataPoints))
				}
				open := len(i.spans.Started()) - len(i.spans.Ended())
				assert.Equal(t, name != "CallEnd", open == 1, "%d spans are open: only the call's may be", open)
			})
		})
	}
}

// An error of a transport has its type as error.type, whatever it calls itself.
func TestErrorTypesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		i := instrument(t, func(c *tokenpatch.Config, _ *tokenpatchotel.Options) {
			c.HTTPClient = &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				n++
				return nil, selfNamed(fmt.Sprint("request ", n))
			})}
		})
		for range 3 {
			assert.Error(t, i.rename(context.Background()))
		}
		sets := counts(t, i.metrics(t)["http.client.request.duration"])
		require.Len(t, sets, 1)
		for set := range sets {
			assert.Contains(t, set, "error.type=tokenpatchotel_test.selfNamed,")
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// selfNamed is an error with a name for its own type.
type selfNamed string

func (e selfNamed) Error() string     { return string(e) }
func (e selfNamed) ErrorType() string { return string(e) }
