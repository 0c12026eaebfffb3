// Package telemetry exports the traces and metrics of the command, as the OTEL_* variables of the environment ask.
package telemetry

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/semconv/v1.43.0"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/fleetotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
)

// Telemetry exports traces and metrics. nil exports nothing, and costs nothing.
type Telemetry struct {
	options tokenpatchotel.Options
	ends    []func(context.Context) error
}

// FromEnv makes the exporters in the environment; nil if it has none. version is the program's. The
// exporter named console writes to w. Later errors are logged to log, once each. Close it.
func FromEnv(ctx context.Context, version string, w io.Writer, log *slog.Logger) (*Telemetry, error) {
	off, err := disabled()
	if err != nil || off || traces.exporter() == "none" && metrics.exporter() == "none" {
		return nil, err
	}
	if err := cmp.Or(check(), traces.useStandardEndpoint(), metrics.useStandardEndpoint()); err != nil {
		return nil, err
	}
	troubles := listen(log)
	t := &Telemetry{options: tokenpatchotel.Options{ // the global propagator, and OTEL_PROPAGATORS with it, is never used
		TracerProvider: tracenoop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider(),
	}}
	if err = t.start(ctx, version, w); err == nil {
		err = troubles.begun()
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// start makes the providers of what is asked for.
func (t *Telemetry) start(ctx context.Context, version string, w io.Writer) error {
	program, err := resourceOf(ctx, version)
	if err != nil {
		return fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	if traces.exporter() != "none" {
		exporter, err := spanExporter(ctx, w)
		if err != nil {
			return fmt.Errorf("%s %q: %w", traces.exporterVariable(), traces.exporter(), err)
		}
		provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(program))
		t.options.TracerProvider, t.ends = provider, append(t.ends, provider.Shutdown)
	}
	if metrics.exporter() != "none" {
		reader, err := metricReader(ctx, w)
		if err != nil {
			return fmt.Errorf("%s %q: %w", metrics.exporterVariable(), metrics.exporter(), err)
		}
		provider := metric.NewMeterProvider(metric.WithReader(reader), metric.WithResource(program))
		t.options.MeterProvider, t.ends = provider, append(t.ends, provider.Shutdown)
	}
	return nil
}

// resourceOf describes this process, beside whatever OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say. Two processes of one
// run are told apart by service.instance.id.
func resourceOf(ctx context.Context, version string) (*resource.Resource, error) {
	return resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		semconv.ServiceName("tokenpatch"), semconv.ServiceVersion(version), semconv.ServiceInstanceID(uuid.NewString()),
	), resource.WithFromEnv())
}

// spanExporter is the exporter of traces. Standard output has the command's own: console writes to w.
func spanExporter(ctx context.Context, w io.Writer) (trace.SpanExporter, error) {
	if traces.exporter() == "console" {
		return stdouttrace.New(stdouttrace.WithWriter(w))
	}
	return otlpSpans(ctx)
}

func metricReader(ctx context.Context, w io.Writer) (metric.Reader, error) {
	switch metrics.exporter() {
	case "prometheus":
		return prometheusReader(ctx)
	case "console":
		exporter, err := stdoutmetric.New(stdoutmetric.WithWriter(w))
		if err != nil {
			return nil, err
		}
		return metric.NewPeriodicReader(exporter), nil
	}
	return otlpMetrics(ctx)
}

// Client is config whose calls are traced and measured.
func (t *Telemetry) Client(config tokenpatch.Config) (tokenpatch.Config, error) {
	if t == nil {
		return config, nil
	}
	return tokenpatchotel.Instrument(config, t.options)
}

// Run is options whose run is traced and measured.
func (t *Telemetry) Run(options fleet.Options) (fleet.Options, error) {
	if t == nil {
		return options, nil
	}
	return fleetotel.Instrument(options, t.options)
}

// flushTime is how long the end of the program waits for a collector.
const flushTime = 5 * time.Second

// Close exports what was not exported yet, if the collector takes it within some seconds.
func (t *Telemetry) Close() {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	var flushing sync.WaitGroup
	for _, end := range t.ends {
		flushing.Go(func() {
			if err := end(ctx); err != nil {
				otel.Handle(err)
			}
		})
	}
	flushed := make(chan struct{})
	go func() {
		flushing.Wait()
		close(flushed)
	}()
	select {
	case <-flushed:
	case <-ctx.Done(): // an exporter that ignores its context is abandoned
	}
}
