package telemetry

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"google.golang.org/grpc/grpclog"

	"github.com/tokenpatch/tokenpatch/internal/redact"
)

const (
	maxTold    = 10  // messages: those with only another port would never end
	maxMessage = 500 // bytes
)

// troubles are the errors of the SDK and its exporters. During the setup they are kept, because
// they are mistakes in the environment. Later ones are logged once each, without credentials.
type troubles struct {
	log     *slog.Logger
	secrets *redact.Secrets

	mu    sync.Mutex
	setUp bool
	kept  []error
	told  map[string]bool
}

// listen has the SDK, and gRPC below it, tell what goes wrong. By themselves they would write to standard error, through the
// progress bar and with the headers.
func listen(log *slog.Logger) *troubles {
	t := &troubles{log: log, secrets: redact.New(credentials()...), told: map[string]bool{}}
	otel.SetErrorHandler(t)
	otel.SetLogger(logr.New(sink{t}))
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
	return t
}

// begun returns what went wrong so far. What does so from now on is logged.
func (t *troubles) begun() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.setUp = true
	return errors.Join(t.kept...)
}

// Handle is called by the SDK.
func (t *troubles) Handle(err error) {
	text := t.secrets.Clean(err.Error())
	text = text[:min(len(text), maxMessage)]
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.setUp:
		t.kept = append(t.kept, errors.New("OTEL_*: "+text))
	case !t.told[text] && len(t.told) < maxTold:
		t.told[text] = true
		t.log.Warn("tokenpatch: traces or metrics could not be exported", "error", text)
	}
}

// sink is the SDK's log. Additional values may be secret, and are not shown.
type sink struct{ *troubles }

func (sink) Init(logr.RuntimeInfo)                    {}
func (sink) Enabled(int) bool                         { return false }
func (sink) Info(int, string, ...any)                 {}
func (s sink) WithValues(...any) logr.LogSink         { return s }
func (s sink) WithName(string) logr.LogSink           { return s }
func (s sink) Error(err error, text string, _ ...any) { s.Handle(fmt.Errorf("%s: %w", text, err)) }
