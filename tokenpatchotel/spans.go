package tokenpatchotel

import (
	"context"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/tokenpatch/tokenpatch"
)

// What the conventions have no attribute for.
const (
	keyAPI        = attribute.Key("tokenpatch.api")           // "V1" or "V2"
	keyRoute      = attribute.Key("tokenpatch.route")         // method and template: "PATCH /api/v2/tokens/{id}"
	keyToken      = attribute.Key("tokenpatch.token.id")      // the token's id, in spans only
	keyCode       = attribute.Key("tokenpatch.code")          // the API's code for a failure, in spans only
	keySupportID  = attribute.Key("tokenpatch.support.id")    // for the provider's support, in spans only
	keyOutcome    = attribute.Key("tokenpatch.outcome")       // "applied", "not_applied" or "unknown"
	keyAttempts   = attribute.Key("tokenpatch.attempts")      // of a call
	keyWaited     = attribute.Key("tokenpatch.wait.duration") // of a call, in seconds
	keyWaitReason = attribute.Key("tokenpatch.wait.reason")   // as in tokenpatch.WaitReason
	keyQuota      = attribute.Key("tokenpatch.quota")         // "global", "credential", or a route as above
)

type (
	callKey    struct{} // of a context's *call
	attemptKey struct{} // of a context's trace.Span
)

// call is what is known of a call while it is under way. One goroutine at a time uses it.
type call struct {
	span trace.Span
	wait trace.Span // of the current wait, or nil
}

func route(info tokenpatch.CallInfo) string { return info.Method + " " + info.Route }

// callStart begins the span of a call. It is no HTTP span: those are the attempts below it.
func (o *observer) callStart(ctx context.Context, info tokenpatch.CallInfo) context.Context {
	attributes := append(make([]attribute.KeyValue, 0, 2), keyAPI.String(info.API))
	if info.TokenID != "" {
		attributes = append(attributes, keyToken.String(info.TokenID))
	}
	ctx, span := o.tracer.Start(ctx, "tokenpatch "+route(info), trace.WithAttributes(attributes...))
	return context.WithValue(ctx, callKey{}, &call{span: span})
}

func (o *observer) callEnd(ctx context.Context, result tokenpatch.CallResult) {
	failure := errorTypeOf(result.Err)
	o.measures.callEnded(ctx, result, failure)
	c, _ := ctx.Value(callKey{}).(*call)
	if c == nil {
		return // a hook of the caller's has put another context in the place of ours
	}
	if c.span.IsRecording() {
		c.span.SetAttributes(
			keyOutcome.String(outcome(result.Outcome)),
			keyAttempts.Int(result.Attempts),
			keyWaited.Float64(result.Waited.Seconds()),
		)
		if failure != "" {
			c.span.SetAttributes(semconv.ErrorTypeKey.String(failure))
			c.span.SetStatus(codes.Error, result.Err.Error())
		}
	}
	c.span.End()
}

// waitStart begins the span of a wait.
func (o *observer) waitStart(ctx context.Context, info tokenpatch.WaitInfo) {
	o.measures.waiting(ctx, info.API, 1)
	if c, _ := ctx.Value(callKey{}).(*call); c != nil {
		_, c.wait = o.tracer.Start(ctx, "tokenpatch wait")
	}
}

func (o *observer) waitEnd(ctx context.Context, info tokenpatch.WaitInfo) {
	o.measures.waiting(ctx, info.API, -1)
	o.measures.waited(ctx, info)
	if c, _ := ctx.Value(callKey{}).(*call); c != nil && c.wait != nil {
		if c.wait.IsRecording() {
			c.wait.SetAttributes(keyWaitReason.String(string(info.Reason)))
		}
		c.wait.End()
		c.wait = nil
	}
}

// attemptStart begins the client span of an attempt, https://opentelemetry.io/docs/specs/semconv/http/http-spans/. It has its
// attributes from the first, since a sampler decides by them.
func (o *observer) attemptStart(ctx context.Context, info *tokenpatch.AttemptInfo) context.Context {
	server := o.origins.of(info.URL)
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(info.Method),
		semconv.ServerAddress(server.address),
		semconv.ServerPort(server.port),
		semconv.URLFull(info.URL),
		semconv.URLTemplate(info.Route),
		keyAPI.String(info.API),
	}
	if info.Number > 1 {
		attributes = append(attributes, semconv.HTTPRequestResendCount(info.Number-1))
	}
	ctx, span := o.tracer.Start(ctx, route(info.CallInfo), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	if o.propagator != nil {
		o.propagator.Inject(ctx, propagation.HeaderCarrier(info.Header))
	}
	return context.WithValue(ctx, attemptKey{}, span)
}

func (o *observer) attemptEnd(ctx context.Context, result tokenpatch.AttemptResult) {
	failure := failureOf(result)
	o.measures.attemptEnded(ctx, result, o.origins.of(result.URL), failure)
	span, _ := ctx.Value(attemptKey{}).(trace.Span)
	if span == nil {
		return
	}
	if span.IsRecording() {
		span.SetAttributes(keyOutcome.String(outcome(result.Outcome)))
		if result.Status != 0 {
			span.SetAttributes(semconv.HTTPResponseStatusCode(result.Status))
		}
		if result.Code != "" {
			span.SetAttributes(keyCode.String(result.Code))
		}
		if result.SupportID != "" {
			span.SetAttributes(keySupportID.String(result.SupportID))
		}
		if failure != "" {
			span.SetAttributes(semconv.ErrorTypeKey.String(failure))
			span.SetStatus(codes.Error, description(result.Err))
		}
	}
	span.End()
}

// description is empty if the status code is enough, as the conventions ask.
func description(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// failureOf is the error.type of an attempt: its status if it is an error, else the kind of error;
// empty for none.
func failureOf(result tokenpatch.AttemptResult) string {
	if result.Status >= 400 {
		return strconv.Itoa(result.Status)
	}
	return errorTypeOf(result.Err)
}

// outcome is the outcome as an attribute's value.
func outcome(o tokenpatch.Outcome) string {
	text, err := o.MarshalText()
	if err != nil {
		return "unknown"
	}
	return string(text)
}
