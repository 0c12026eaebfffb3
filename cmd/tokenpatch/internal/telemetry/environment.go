package telemetry

import (
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// signal is a kind of telemetry, as the names of the variables have it.
type signal string

const (
	traces  signal = "TRACES"
	metrics signal = "METRICS"
)

// exporter is the exporter in the environment: by name, or by the address of a collector. It is
// "none" if there is none: with the specification's default, a collector on this machine, every
// user's command would look for one.
func (s signal) exporter() string {
	if name := os.Getenv(s.exporterVariable()); name != "" {
		return name
	}
	if _, value := s.otlp("ENDPOINT"); value != "" {
		return "otlp"
	}
	return "none"
}

func (s signal) exporterVariable() string { return "OTEL_" + string(s) + "_EXPORTER" }

// otlp is the variable of the OTLP exporter for the signal, its own or that of both, and its value.
func (s signal) otlp(what string) (name, value string) {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_" + string(s) + "_" + what, "OTEL_EXPORTER_OTLP_" + what} {
		if value := os.Getenv(name); value != "" {
			return name, value
		}
	}
	return "", ""
}

func (s signal) isGRPC() bool {
	_, protocol := s.otlp("PROTOCOL")
	return protocol == "grpc"
}

// useStandardEndpoint names the standard's default collector, if the environment leaves it open.
// The exporters would use https, but a collector on this machine speaks http by default.
func (s signal) useStandardEndpoint() error {
	_, endpoint := s.otlp("ENDPOINT")
	_, insecure := s.otlp("INSECURE")
	if s.exporter() != "otlp" || endpoint != "" || insecure != "" {
		return nil
	}
	standard := "http://localhost:4318/v1/" + strings.ToLower(string(s))
	if s.isGRPC() {
		standard = "http://localhost:4317"
	}
	return os.Setenv("OTEL_EXPORTER_OTLP_"+string(s)+"_ENDPOINT", standard)
}

// disabled reports whether OTEL_SDK_DISABLED is true.
func disabled() (bool, error) {
	value := strings.ToLower(os.Getenv("OTEL_SDK_DISABLED"))
	return value == "true", oneOf("OTEL_SDK_DISABLED", value, "true", "false")
}

// check returns the mistakes in the environment. The SDK itself ignores most of them, and uses its
// defaults.
func check() error {
	var mistakes []error
	for _, s := range []signal{traces, metrics} {
		mistakes = append(mistakes, s.check())
	}
	for _, name := range []string{
		"OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
		"OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT",
	} {
		mistakes = append(mistakes, number(name, os.Getenv(name), 1))
	}
	sampler := os.Getenv("OTEL_TRACES_SAMPLER")
	mistakes = append(mistakes, oneOf("OTEL_TRACES_SAMPLER", sampler,
		"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"))
	if argument := os.Getenv("OTEL_TRACES_SAMPLER_ARG"); strings.HasSuffix(sampler, "ratio") && argument != "" {
		if share, err := strconv.ParseFloat(argument, 64); err != nil || !(share >= 0 && share <= 1) {
			mistakes = append(mistakes, mistake("OTEL_TRACES_SAMPLER_ARG", argument, "a share, 0 to 1"))
		}
	}
	for _, err := range mistakes {
		if err != nil {
			return err
		}
	}
	return nil
}

// check returns the mistakes in the variables of a signal.
func (s signal) check() error {
	exporters := []string{"otlp", "console", "none"}
	if s == metrics {
		exporters = append(exporters, "prometheus")
	}
	exporter := s.exporter()
	if err := oneOf(s.exporterVariable(), exporter, exporters...); err != nil {
		return err
	}
	switch exporter {
	case "prometheus":
		return number("OTEL_EXPORTER_PROMETHEUS_PORT", os.Getenv("OTEL_EXPORTER_PROMETHEUS_PORT"), 0)
	case "otlp":
		return s.checkOTLP()
	}
	return nil
}

func (s signal) checkOTLP() error {
	protocol, value := s.otlp("PROTOCOL")
	if err := oneOf(protocol, value, "http/protobuf", "grpc"); err != nil {
		return err
	}
	compression, value := s.otlp("COMPRESSION")
	if err := oneOf(compression, value, "gzip", "none"); err != nil {
		return err
	}
	timeout, value := s.otlp("TIMEOUT")
	if err := number(timeout, value, 1); err != nil {
		return err
	}
	if err := checkEndpoint(s.otlp("ENDPOINT")); err != nil {
		return err
	}
	return checkHeaders(s.otlp("HEADERS"))
}

// checkEndpoint refuses what is no URL. A user in it is not shown, and the exporter would not send it.
func checkEndpoint(name, value string) error {
	if strings.Contains(value, "@") {
		return fmt.Errorf("%s: want a URL without a user or a password: OTEL_EXPORTER_OTLP_HEADERS is for credentials", name)
	}
	u, err := url.Parse(value)
	if value != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return mistake(name, value, "a URL such as http://127.0.0.1:4318")
	}
	return nil
}

// checkHeaders shows nothing of them: they hold credentials.
func checkHeaders(name, value string) error {
	if _, err := headers(value); err != nil {
		return fmt.Errorf("%s: want key=value, separated by commas, and percent-encoded", name)
	}
	return nil
}

// headers are the values of headers, as they are sent.
func headers(text string) (values []string, err error) {
	for pair := range strings.SplitSeq(text, ",") {
		if pair == "" {
			continue
		}
		key, value, found := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if err != nil || !found || strings.TrimSpace(key) == "" {
			return nil, fmt.Errorf("a pair is not key=value")
		}
		values = append(values, value)
	}
	return values, nil
}

// credentials are what may not be shown of the environment.
func credentials() []string {
	secrets := []string{os.Getenv("DEEPSET_API_KEY"), os.Getenv("LAUNCHDARKLY_ACCESS_TOKEN")}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"} {
		values, err := headers(os.Getenv(name))
		if err != nil {
			values = []string{os.Getenv(name)}
		}
		secrets = append(secrets, values...)
	}
	return secrets
}

func oneOf(name, value string, values ...string) error {
	if value == "" || slices.Contains(values, value) {
		return nil
	}
	return mistake(name, value, "one of "+strings.Join(values, ", "))
}

func number(name, value string, least int) error {
	if n, err := strconv.Atoi(value); value != "" && (err != nil || n < least) {
		return mistake(name, value, fmt.Sprintf("a whole number, %d or more", least))
	}
	return nil
}

func mistake(name, value, want string) error {
	return fmt.Errorf("%s %q: want %s", name, value[:min(len(value), 100)], want)
}
