package fleetotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
)

const scope = "github.com/tokenpatch/tokenpatch/fleet/fleetotel"

// Attributes. Those without fleet in their name are tokenpatchotel's.
const (
	keyRun      = attribute.Key("tokenpatch.fleet.run") // name of the run
	keyAPI      = attribute.Key("tokenpatch.api")       // "V1" or "V2"
	keyToken    = attribute.Key("tokenpatch.token.id")  // the token's id, in spans only
	keyOutcome  = attribute.Key("tokenpatch.outcome")   // "applied", "not_applied", "unknown" or "pending"
	keyAttempts = attribute.Key("tokenpatch.attempts")  // of a try
)

// The bounds of the histogram, in seconds: few tries take longer than a minute.
var tryBounds = []float64{0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300}

// Instrument returns options with hooks for traces and metrics of runs, and with a client
// instrumented by [tokenpatchotel.Instrument]. The hooks in options are called too, within the
// spans. The error, if any, is the MeterProvider's.
func Instrument(options fleet.Options, o tokenpatchotel.Options) (fleet.Options, error) {
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	client, err := tokenpatchotel.Instrument(options.Client, o)
	if err != nil {
		return fleet.Options{}, err
	}
	observer := &observer{tracer: o.TracerProvider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))}
	if err := observer.measure(o.MeterProvider.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))); err != nil {
		return fleet.Options{}, err
	}
	options.Client, options.Hooks = client, observer.around(options.Hooks)
	return options, nil
}

// observer has what the hooks of one Options need.
type observer struct {
	tracer   trace.Tracer
	count    metric.Int64Gauge
	duration metric.Float64Histogram
}

func (o *observer) measure(meter metric.Meter) error {
	var errs [2]error
	o.count, errs[0] = meter.Int64Gauge("tokenpatch.fleet.change.count", metric.WithUnit("{change}"),
		metric.WithDescription("Changes of a run by outcome so far, by the work of all processes."))
	o.duration, errs[1] = meter.Float64Histogram("tokenpatch.fleet.change.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of the tries of changes that this process has made."),
		metric.WithExplicitBucketBoundaries(tryBounds...))
	return errors.Join(errs[:]...)
}

// around puts the observer's hooks around the caller's: what begins with the
// observer's ends with it.
func (o *observer) around(caller fleet.Hooks) fleet.Hooks {
	return fleet.Hooks{
		ChangeStart: func(ctx context.Context, change fleet.ChangeInfo) context.Context {
			ctx = o.changeStart(ctx, change)
			if caller.ChangeStart == nil {
				return ctx
			}
			if within := caller.ChangeStart(ctx, change); within != nil {
				return within
			}
			return ctx
		},
		ChangeEnd: func(ctx context.Context, change fleet.ChangeResult) {
			defer o.changeEnd(ctx, change)
			if caller.ChangeEnd != nil {
				caller.ChangeEnd(ctx, change)
			}
		},
		Progress: func(ctx context.Context, p fleet.Progress) {
			o.progress(ctx, p)
			if caller.Progress != nil {
				caller.Progress(ctx, p)
			}
		},
	}
}

type changeKey struct{} // of a context's trace.Span

// changeStart begins the span of a try. It begins a trace: nobody could read one of ten thousand
// changes. A link leads to the span around Run, if there is one.
func (o *observer) changeStart(ctx context.Context, change fleet.ChangeInfo) context.Context {
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithAttributes(
		keyRun.String(change.Run), keyAPI.String(change.API), keyToken.String(change.Token))}
	if link := trace.LinkFromContext(ctx); link.SpanContext.IsValid() {
		options = append(options, trace.WithLinks(link))
	}
	ctx, span := o.tracer.Start(ctx, "tokenpatch change", options...)
	return context.WithValue(ctx, changeKey{}, span)
}

func (o *observer) changeEnd(ctx context.Context, change fleet.ChangeResult) {
	attributes := []attribute.KeyValue{keyAPI.String(change.API), keyOutcome.String(string(change.State))}
	if change.Err != nil {
		attributes = append(attributes, semconv.ErrorTypeKey.String(change.ErrType))
	}
	o.duration.Record(ctx, change.Duration.Seconds(), metric.WithAttributes(attributes...))
	span, _ := ctx.Value(changeKey{}).(trace.Span)
	if span == nil {
		return // a hook of the caller's has put another context in the place of ours
	}
	span.SetAttributes(attributes...)
	span.SetAttributes(keyAttempts.Int(change.Attempts))
	if change.Err != nil {
		span.SetStatus(codes.Error, change.Err.Error())
	}
	span.End()
}

// progress records how many changes are in which state.
func (o *observer) progress(ctx context.Context, p fleet.Progress) {
	for state, n := range map[fleet.State]int{
		fleet.StatePending: p.Pending, fleet.StateApplied: p.Applied, fleet.StateNotApplied: p.NotApplied, fleet.StateUnknown: p.Unknown,
	} {
		o.count.Record(ctx, int64(n), metric.WithAttributes(keyRun.String(p.Run), keyOutcome.String(string(state))))
	}
}
