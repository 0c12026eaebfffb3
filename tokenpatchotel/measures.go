package tokenpatchotel

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/tokenpatch/tokenpatch"
)

// The bounds of the histograms, in seconds: for requests those of the conventions, for what can wait up to an hour.
var (
	requestBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	waitBounds    = []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600}
)

// measures are the instruments. Sets of attributes are made once each, since there are few.
type measures struct {
	request   metric.Float64Histogram
	call      metric.Float64Histogram
	wait      metric.Float64Histogram
	waits     metric.Int64UpDownCounter
	remaining metric.Int64Gauge

	sets sync.Map // a struct of what makes up a set, to metric.MeasurementOption
}

func newMeasures(meter metric.Meter) (*measures, error) {
	var m measures
	var errs [5]error
	m.request, errs[0] = meter.Float64Histogram("http.client.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of HTTP client requests."),
		metric.WithExplicitBucketBoundaries(requestBounds...))
	m.call, errs[1] = meter.Float64Histogram("tokenpatch.client.call.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of calls, with all their attempts and waits."),
		metric.WithExplicitBucketBoundaries(waitBounds...))
	m.wait, errs[2] = meter.Float64Histogram("tokenpatch.client.wait.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of the waits of calls, for the rate limit and between attempts."),
		metric.WithExplicitBucketBoundaries(waitBounds...))
	m.waits, errs[3] = meter.Int64UpDownCounter("tokenpatch.client.waiting_calls", metric.WithUnit("{call}"),
		metric.WithDescription("Calls that wait at the moment."))
	m.remaining, errs[4] = meter.Int64Gauge("tokenpatch.client.quota.remaining", metric.WithUnit("{request}"),
		metric.WithDescription("Requests that remained in the window of a quota after the last response."))
	return &m, errors.Join(errs[:]...)
}

// The sets of attributes, by what they are made of.
type (
	requestSet struct {
		endpoint
		origin
		status  int
		failure string
	}
	callSet struct {
		api string
		endpoint
		outcome tokenpatch.Outcome
		failure string
	}
	waitSet struct {
		api    string
		reason tokenpatch.WaitReason
	}
	apiSet   string
	quotaSet struct {
		api, address, quota string
	}
)

// endpoint is what a metric knows of a call: a token's id would make a set of its own of each token.
type endpoint struct{ method, route string }

func endpointOf(info tokenpatch.CallInfo) endpoint { return endpoint{info.Method, info.Route} }

func (m *measures) attemptEnded(ctx context.Context, result tokenpatch.AttemptResult, server origin, failure string) {
	m.request.Record(ctx, result.Duration.Seconds(), m.set(requestSet{endpointOf(result.CallInfo), server, result.Status, failure}))
	m.remains(ctx, quotaSet{result.API, server.address, "global"}, result.RateLimit.Global)
	m.remains(ctx, quotaSet{result.API, server.address, "credential"}, result.RateLimit.Credential)
	for route, quota := range result.RateLimit.Routes {
		m.remains(ctx, quotaSet{result.API, server.address, route}, quota)
	}
}

func (m *measures) remains(ctx context.Context, set quotaSet, quota tokenpatch.Quota) {
	if remaining, known := quota.Remaining.Get(); known {
		m.remaining.Record(ctx, int64(remaining), m.set(set))
	}
}

func (m *measures) callEnded(ctx context.Context, result tokenpatch.CallResult, failure string) {
	m.call.Record(ctx, result.Duration.Seconds(), m.set(callSet{result.API, endpointOf(result.CallInfo), result.Outcome, failure}))
}

func (m *measures) waited(ctx context.Context, wait tokenpatch.WaitInfo) {
	m.wait.Record(ctx, wait.Duration.Seconds(), m.set(waitSet{wait.API, wait.Reason}))
}

func (m *measures) waiting(ctx context.Context, api string, more int64) {
	m.waits.Add(ctx, more, m.set(apiSet(api)))
}

// attributer makes a set of attributes of what identifies it.
type attributer interface {
	attributes() []attribute.KeyValue
}

// set is the option with the attributes in which.
func (m *measures) set(which attributer) metric.MeasurementOption {
	if known, ok := m.sets.Load(which); ok {
		return known.(metric.MeasurementOption)
	}
	option := metric.WithAttributeSet(attribute.NewSet(which.attributes()...))
	m.sets.Store(which, option)
	return option
}

func (s requestSet) attributes() []attribute.KeyValue {
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(s.method),
		semconv.ServerAddress(s.address),
		semconv.ServerPort(s.port),
		semconv.URLTemplate(s.route),
	}
	if s.status != 0 {
		attributes = append(attributes, semconv.HTTPResponseStatusCode(s.status))
	}
	return withFailure(attributes, s.failure)
}

func (s callSet) attributes() []attribute.KeyValue {
	return withFailure([]attribute.KeyValue{
		keyAPI.String(s.api), keyRoute.String(s.method + " " + s.route), keyOutcome.String(outcome(s.outcome)),
	}, s.failure)
}

func (s waitSet) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{keyAPI.String(s.api), keyWaitReason.String(string(s.reason))}
}

func (s apiSet) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{keyAPI.String(string(s))}
}

func (s quotaSet) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{keyAPI.String(s.api), semconv.ServerAddress(s.address), keyQuota.String(s.quota)}
}

func withFailure(attributes []attribute.KeyValue, failure string) []attribute.KeyValue {
	if failure == "" {
		return attributes
	}
	return append(attributes, semconv.ErrorTypeKey.String(failure))
}
