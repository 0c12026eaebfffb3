package telemetry

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/trace"
)

func otlpSpans(ctx context.Context) (trace.SpanExporter, error) {
	if traces.isGRPC() {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

func otlpMetrics(ctx context.Context) (metric.Reader, error) {
	var exporter metric.Exporter
	var err error
	if metrics.isGRPC() {
		exporter, err = otlpmetricgrpc.New(ctx)
	} else {
		exporter, err = otlpmetrichttp.New(ctx)
	}
	if err != nil {
		return nil, err
	}
	return metric.NewPeriodicReader(exporter), nil
}

// prometheusReader serves the metrics to Prometheus, at the address that the standard names.
func prometheusReader(ctx context.Context) (metric.Reader, error) {
	registry := prometheus.NewRegistry()
	reader, err := promexporter.New(promexporter.WithRegisterer(registry))
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(getenv("OTEL_EXPORTER_PROMETHEUS_HOST", "localhost"), getenv("OTEL_EXPORTER_PROMETHEUS_PORT", "9464"))
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("binding address %s for Prometheus: %w", address, err), reader.Shutdown(ctx))
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			otel.Handle(err)
		}
	}()
	return servedReader{reader, server}, nil
}

// servedReader is a reader that ends with its server.
type servedReader struct {
	metric.Reader
	server *http.Server
}

func (r servedReader) Shutdown(ctx context.Context) error {
	return errors.Join(r.Reader.Shutdown(ctx), r.server.Shutdown(ctx))
}

func getenv(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
