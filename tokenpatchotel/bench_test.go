package tokenpatchotel_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// What a call allocates without instrumentation, without an SDK, with metrics alone, and with a span of each call and attempt,
// kept nowhere.
func BenchmarkCall(b *testing.B) {
	none, metrics, both := setups()
	b.Run("of=plain", func(b *testing.B) { benchmarkCall(b, nil) })
	b.Run("of=without-sdk", func(b *testing.B) { benchmarkCall(b, &none) })
	b.Run("of=metrics", func(b *testing.B) { benchmarkCall(b, &metrics) })
	b.Run("of=metrics-and-traces", func(b *testing.B) { benchmarkCall(b, &both) })
}

// How long an instrumented call takes compared with a plain one. The two take turns, so other load
// on the machine slows down both.
func BenchmarkBesidePlain(b *testing.B) {
	none, metrics, both := setups()
	b.Run("of=without-sdk", func(b *testing.B) { benchmarkBesidePlain(b, &none) })
	b.Run("of=metrics", func(b *testing.B) { benchmarkBesidePlain(b, &metrics) })
	b.Run("of=metrics-and-traces", func(b *testing.B) { benchmarkBesidePlain(b, &both) })
}

func setups() (none, metrics, both tokenpatchotel.Options) {
	none = tokenpatchotel.Options{TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()}
	metrics = none
	metrics.MeterProvider = metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	both = metrics
	both.TracerProvider = sdktrace.NewTracerProvider()
	return none, metrics, both
}

func benchmarkCall(b *testing.B, options *tokenpatchotel.Options) {
	call := newCall(b, options)
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}

func benchmarkBesidePlain(b *testing.B, options *tokenpatchotel.Options) {
	plain, instrumented := newCall(b, nil), newCall(b, options)
	var without, with []time.Duration
	for b.Loop() {
		without, with = append(without, timed(plain)), append(with, timed(instrumented))
	}
	b.ReportMetric(0, "ns/op") // a figure for both together means nothing
	b.ReportMetric(float64(median(with))/float64(median(without)), "x-plain")
}

func timed(call func()) time.Duration {
	began := time.Now()
	call()
	return time.Since(began)
}

func median(times []time.Duration) time.Duration {
	slices.Sort(times)
	return times[len(times)/2]
}

// newCall returns a call of a client against a service of its own.
func newCall(b *testing.B, options *tokenpatchotel.Options) func() {
	service := tokenpatchtest.New()
	b.Cleanup(service.Close)
	require.NoError(b, service.AddV2(`{"_id": "`+idV2+`", "name": "before"}`))
	base, err := service.Listen()
	require.NoError(b, err)
	config := tokenpatch.Config{V2: tokenpatch.V2Config{BaseURL: base, AccessToken: tokenpatchtest.AccessToken}}
	if options != nil {
		config, err = tokenpatchotel.Instrument(config, *options)
		require.NoError(b, err)
	}
	client, err := tokenpatch.NewClient(config)
	require.NoError(b, err)
	b.Cleanup(client.CloseIdleConnections)
	patch := tokenpatch.NewPatch().SetName("after")
	return func() {
		if _, err := client.V2.PatchToken(context.Background(), idV2, patch); err != nil {
			b.Fatal(err)
		}
	}
}
