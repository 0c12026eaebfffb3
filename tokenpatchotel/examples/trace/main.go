// Trace makes tokens read-only, and prints a line for each span: the call, its attempts and its waits. A program of yours has
// an exporter for its collector in the place of printer.
//
//	LAUNCHDARKLY_ACCESS_TOKEN=... go run github.com/tokenpatch/tokenpatch/tokenpatchotel/examples/trace@latest 61095542756dba551110ae21
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
)

func main() {
	if len(os.Args) == 1 {
		log.Fatal("want arguments: the ids of tokens")
	}
	if err := makeReadOnly(context.Background(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func makeReadOnly(ctx context.Context, ids []string) (err error) {
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(printer{}))
	defer func() { err = errors.Join(err, provider.Shutdown(ctx)) }()
	config, err := tokenpatchotel.Instrument(tokenpatch.ConfigFromEnv(), tokenpatchotel.Options{TracerProvider: provider})
	if err != nil {
		return err
	}
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		return err
	}
	readOnly := func(token *tokenpatch.Token) error {
		token.UseRole(tokenpatch.RoleReader)
		return nil
	}
	for _, id := range ids {
		if _, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, readOnly); err != nil {
			return fmt.Errorf("%s is %s: %w", id, tokenpatch.OutcomeOf(err), err)
		}
	}
	return nil
}

// printer is an exporter that prints each span's duration and name, and whether it failed.
type printer struct{}

func (printer) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, span := range spans {
		line := fmt.Sprintf("%8v  %s", span.EndTime().Sub(span.StartTime()).Round(time.Millisecond), span.Name())
		if span.Status().Code == codes.Error {
			line += "  failed"
		}
		fmt.Println(line)
	}
	return nil
}

func (printer) Shutdown(context.Context) error { return nil }
