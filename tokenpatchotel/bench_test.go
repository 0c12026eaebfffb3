package tokenpatchotel_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// One call beside one that is not instrumented: what there is to pay without an SDK, with metrics alone, and with a span of
// each call and attempt, kept nowhere.
func BenchmarkCall(b *testing.B) {
	none := tokenpatchotel.Options{TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()}
	metrics := none
	metrics.MeterProvider = metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	both := metrics
	both.TracerProvider = sdktrace.NewTracerProvider()
	b.Run("of=plain", func(b *testing.B) { benchmarkCall(b, nil) })
	b.Run("of=without-sdk", func(b *testing.B) { benchmarkCall(b, &none) })
	b.Run("of=metrics", func(b *testing.B) { benchmarkCall(b, &metrics) })
	b.Run("of=metrics-and-traces", func(b *testing.B) { benchmarkCall(b, &both) })
}

func benchmarkCall(b *testing.B, options *tokenpatchotel.Options) {
	service := tokenpatchtest.New()
	defer service.Close()
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
	defer client.CloseIdleConnections()
	patch := tokenpatch.NewPatch().SetName("after")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.V2.PatchToken(context.Background(), idV2, patch); err != nil {
			b.Fatal(err)
		}
	}
}
