package main_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // as a collector has it
	"google.golang.org/protobuf/proto"
)

// grpcCollector is an OTLP receiver over gRPC.
type grpcCollector struct {
	*collector
	address string
}

type (
	traceService struct {
		collectortrace.UnimplementedTraceServiceServer
		*collector
	}
	metricsService struct {
		collectormetrics.UnimplementedMetricsServiceServer
		*collector
	}
)

func newGRPCCollector(t testing.TB) *grpcCollector {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &grpcCollector{&collector{gauges: map[string]int64{}, counts: map[string]uint64{}}, listener.Addr().String()}
	server := grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(server, traceService{collector: c.collector})
	collectormetrics.RegisterMetricsServiceServer(server, metricsService{collector: c.collector})
	go func() { _ = server.Serve(listener) }() // until Stop
	t.Cleanup(server.Stop)
	return c
}

func (s traceService) Export(_ context.Context, r *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	return &collectortrace.ExportTraceServiceResponse{}, s.again("/v1/traces", r)
}

func (s metricsService) Export(_ context.Context, r *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	return &collectormetrics.ExportMetricsServiceResponse{}, s.again("/v1/metrics", r)
}

// again takes a request as if it had come over HTTP.
func (c *collector) again(path string, request proto.Message) error {
	sent, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	return c.take(path, sent)
}
