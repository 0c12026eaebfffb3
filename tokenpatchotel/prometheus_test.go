package tokenpatchotel_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
)

// What Prometheus reads of a program, over HTTP.
func TestPrometheus(t *testing.T) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	require.NoError(t, err)
	i := instrument(t, func(_ *tokenpatch.Config, o *tokenpatchotel.Options) {
		o.MeterProvider = metric.NewMeterProvider(metric.WithReader(exporter))
	})
	require.NoError(t, i.rename(context.Background()))
	require.NoError(t, i.rename(context.Background()))

	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	response, err := http.Get(server.URL)
	require.NoError(t, err)
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	assert.Regexp(t, `(?m)^http_client_request_duration_seconds_count\{http_request_method="PATCH",http_response_status_code="200",.*url_template="/api/v2/tokens/\{id\}"\} 2$`, string(page))
	assert.Regexp(t, `(?m)^tokenpatch_client_call_duration_seconds_bucket\{.*tokenpatch_outcome="applied",.*le="3600"\} 2$`, string(page))
}
