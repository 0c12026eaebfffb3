package tokenpatchotel_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// A conflict, and the attempt after it. A program has an exporter of its own in the place of the recorder, and no HTTPClient.
func ExampleInstrument() {
	service := tokenpatchtest.New()
	defer service.Close()
	if err := service.AddV2(`{"_id": "61095542756dba551110ae21", "name": "ci"}`); err != nil {
		fmt.Println(err)
		return
	}
	service.Inject(tokenpatchtest.Fault{Status: 409})
	recorder := tracetest.NewSpanRecorder()

	config, err := tokenpatchotel.Instrument(tokenpatch.Config{
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(),
	}, tokenpatchotel.Options{
		TracerProvider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = client.V2.PatchToken(context.Background(), "61095542756dba551110ae21", tokenpatch.NewPatch().SetName("deployer"))
	fmt.Println(err)
	for _, span := range recorder.Ended() {
		fmt.Println(span.Name(), span.Status().Code)
	}
	// Output:
	// <nil>
	// PATCH /api/v2/tokens/{id} Error
	// tokenpatch wait Unset
	// PATCH /api/v2/tokens/{id} Unset
	// tokenpatch PATCH /api/v2/tokens/{id} Unset
}
