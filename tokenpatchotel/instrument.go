package tokenpatchotel

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokenpatch/tokenpatch"
)

const scope = "github.com/tokenpatch/tokenpatch/tokenpatchotel"

// Options are the targets of spans and metrics. The zero Options are ready.
type Options struct {
	// TracerProvider makes the spans. nil is the global one, otel.GetTracerProvider.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the metrics. nil is the global one, otel.GetMeterProvider.
	MeterProvider metric.MeterProvider

	// Propagator writes the trace's identity into the headers of each request, as traceparent for example. nil, the default,
	// writes nothing: the service belongs to another company.
	Propagator propagation.TextMapPropagator
}

// Instrument returns config with hooks for traces and metrics. The hooks in config are called too,
// within the spans: their context has the span of the call, or of the attempt. The error, if any,
// is the MeterProvider's.
func Instrument(config tokenpatch.Config, options Options) (tokenpatch.Config, error) {
	if options.TracerProvider == nil {
		options.TracerProvider = otel.GetTracerProvider()
	}
	if options.MeterProvider == nil {
		options.MeterProvider = otel.GetMeterProvider()
	}
	measures, err := newMeasures(options.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)))
	if err != nil {
		return tokenpatch.Config{}, err
	}
	observer := &observer{
		tracer:     options.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		propagator: options.Propagator,
		measures:   measures,
	}
	config.Hooks = observer.around(config.Hooks)
	return config, nil
}

// observer has what the hooks of one Config need.
type observer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator // nil: none
	measures   *measures
	origins    origins
}

// around puts the observer's hooks around the caller's: what begins with the observer's ends with it.
func (o *observer) around(caller tokenpatch.Hooks) tokenpatch.Hooks {
	return tokenpatch.Hooks{
		CallStart:    within(o.callStart, caller.CallStart),
		WaitStart:    o.afterWaitStart(caller.WaitStart),
		WaitEnd:      end(caller.WaitEnd, o.waitEnd),
		AttemptStart: within(o.attemptStart, caller.AttemptStart),
		AttemptEnd:   end(caller.AttemptEnd, o.attemptEnd),
		CallEnd:      end(caller.CallEnd, o.callEnd),
	}
}

// within calls inner with the context of outer. If inner returns no context, that of outer stays.
func within[T any](outer, inner func(context.Context, T) context.Context) func(context.Context, T) context.Context {
	if inner == nil {
		return outer
	}
	return func(ctx context.Context, info T) context.Context {
		ctx = outer(ctx, info)
		if within := inner(ctx, info); within != nil {
			return within
		}
		return ctx
	}
}

// afterWaitStart begins a wait once the caller's hook has returned: if the hook panics, there is no
// WaitEnd, and the call would count as waiting forever.
func (o *observer) afterWaitStart(caller func(context.Context, tokenpatch.WaitInfo)) func(context.Context, tokenpatch.WaitInfo) {
	if caller == nil {
		return o.waitStart
	}
	return func(ctx context.Context, info tokenpatch.WaitInfo) {
		caller(ctx, info)
		o.waitStart(ctx, info)
	}
}

// end calls outer after inner, even if inner panics: whatever has begun ends.
func end[T any](inner, outer func(context.Context, T)) func(context.Context, T) {
	if inner == nil {
		return outer
	}
	return func(ctx context.Context, info T) {
		defer outer(ctx, info)
		inner(ctx, info)
	}
}
