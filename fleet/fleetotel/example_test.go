package fleetotel_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/fleetotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// readerOnly wants one token to be a reader.
func readerOnly(yield func(fleet.Change, error) bool) {
	yield(fleet.Change{ID: "61095542756dba551110ae21", Want: &fleet.Want{Role: tokenpatch.Set(tokenpatch.RoleReader)}}, nil)
}

// A run with one change. A program has an exporter of its own in the place of the recorder, and no HTTPClient.
func ExampleInstrument() {
	ctx := context.Background()
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "ci", "role": "admin"}`); err != nil {
		panic(err) // the document is right
	}
	dir, err := os.MkdirTemp("", "fleetotel")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	store, err := fleet.Open(ctx, filepath.Join(dir, "review.db"))
	if err != nil {
		panic(err)
	}
	defer store.Close()
	if _, err := store.Add(ctx, "review", readerOnly, fleet.AddOptions{}); err != nil {
		panic(err)
	}

	recorder := tracetest.NewSpanRecorder()
	options, err := fleetotel.Instrument(fleet.Options{Client: tokenpatch.Config{
		HTTPClient: service.Client(),
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
	}}, tokenpatchotel.Options{TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))})
	if err != nil {
		panic(err)
	}
	fmt.Println(store.Run(ctx, "review", options))
	for _, span := range recorder.Ended() {
		fmt.Println(span.Name())
	}
	// Output:
	// <nil>
	// GET /api/v2/tokens/{id}
	// tokenpatch GET /api/v2/tokens/{id}
	// PATCH /api/v2/tokens/{id}
	// tokenpatch PATCH /api/v2/tokens/{id}
	// tokenpatch change
}
