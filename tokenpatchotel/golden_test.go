package tokenpatchotel_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// everything makes calls with all kinds of spans and metrics.
func everything(t testing.TB, i *instrumented) {
	i.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 10 * time.Second, Global: 5, Route: 2})
	i.service.Inject(
		tokenpatchtest.Fault{Status: http.StatusServiceUnavailable},
		tokenpatchtest.Fault{Cut: tokenpatchtest.CutBefore},
		tokenpatchtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"240"}}},
		tokenpatchtest.Fault{Status: http.StatusNotFound, Body: `{"code":"not_found","message":"none","id":"93f6f2ae"}`},
	)
	assert.Error(t, i.rename(context.Background()))
	for range 4 {
		assert.NoError(t, i.rename(context.Background()))
	}
	assert.NoError(t, i.update(context.Background()))
}

// What the README lists is what there is, and all of it.
func TestReadmeListsEveryName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		everything(t, i)

		spans := map[string]map[string]bool{}
		for _, span := range i.spans.Ended() {
			row := strings.NewReplacer("/api/v1/token/{api_token_id}", "/api/v2/tokens/{id}").Replace(span.Name()) + " " + span.SpanKind().String()
			add(spans, row, slices.Collect(maps.Keys(attributes(span))))
		}
		want := map[string]map[string]bool{}
		for _, row := range tableOf(t, "Spans") {
			add(want, namesIn(row[0])[0]+" "+row[1], namesIn(row[2]))
		}
		assert.Equal(t, want, spans)

		metrics := map[string]map[string]bool{}
		for _, m := range i.metrics(t) {
			kind, keys := kindOf(t, m)
			add(metrics, m.Name+" "+kind+", `"+m.Unit+"`", keys)
		}
		want = map[string]map[string]bool{}
		for _, row := range tableOf(t, "Metrics") {
			add(want, namesIn(row[0])[0]+" "+row[1], namesIn(row[2]))
		}
		assert.Equal(t, want, metrics)
	})
}

func add(all map[string]map[string]bool, name string, keys []string) {
	if all[name] == nil {
		all[name] = map[string]bool{}
	}
	for _, key := range keys {
		all[name][key] = true
	}
}

// kindOf is the instrument of a metric, and the keys of its attributes.
func kindOf(t *testing.T, m metricdata.Metrics) (kind string, keys []string) {
	t.Helper()
	var sets []string
	switch data := m.Data.(type) {
	case metricdata.Histogram[float64]:
		kind, sets = "histogram", slices.Collect(maps.Keys(counts(t, m)))
	case metricdata.Sum[int64]:
		kind, sets = "up-down counter", slices.Collect(maps.Keys(points(data.DataPoints)))
		assert.False(t, data.IsMonotonic)
	case metricdata.Gauge[int64]:
		kind, sets = "gauge", slices.Collect(maps.Keys(gauges(t, m)))
	default:
		assert.Fail(t, "an instrument of another kind", "%T", m.Data)
	}
	for _, set := range sets {
		for pair := range strings.SplitSeq(set, ",") {
			key, _, _ := strings.Cut(pair, "=")
			keys = append(keys, key)
		}
	}
	return kind, keys
}

// The README lists all values, except those of errors.
func TestReadmeListsEveryValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		everything(t, i)
		listed := map[string][]string{}
		for _, row := range tableOf(t, "Values") {
			listed[namesIn(row[0])[0]] = namesIn(row[1])
		}
		check := func(key, value string) {
			values, known := listed[key]
			if known && key != "error.type" && !slices.Contains(values, value) {
				assert.Regexp(t, `^PATCH /api/v[12]/`, value, "the README does not list this value of %s", key)
			}
			assert.True(t, known || !strings.HasPrefix(key, "tokenpatch.") || slices.Contains(
				[]string{"tokenpatch.token.id", "tokenpatch.code", "tokenpatch.support.id", "tokenpatch.attempts", "tokenpatch.wait.duration"}, key), "the README says nothing of %s", key)
		}
		for _, span := range i.spans.Ended() {
			for key, value := range attributes(span) {
				check(key, value)
			}
		}
	})
}

// readme is the README's Go block.
func readme() error {
	config, err := tokenpatchotel.Instrument(tokenpatch.ConfigFromEnv(), tokenpatchotel.Options{})
	if err != nil {
		return err
	}
	client, err := tokenpatch.NewClient(config)
	_ = client
	return err
}

func TestReadmeShowsWhatCompiles(t *testing.T) {
	t.Setenv("LAUNCHDARKLY_ACCESS_TOKEN", tokenpatchtest.AccessToken)
	require.NoError(t, readme())
	document, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("golden_test.go")
	require.NoError(t, err)
	_, block, _ := strings.Cut(string(document), "```go\n")
	block, _, _ = strings.Cut(block, "\n```")
	assert.Contains(t, strings.ReplaceAll(string(source), "\n\t", "\n"), block)
}

// No secret and no id leaks.
func TestNothingLeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		i.service.Inject(tokenpatchtest.Fault{Status: 403, Body: `{"code": "forbidden", "message": "not with ` + tokenpatchtest.AccessToken + `"}`})
		assert.Error(t, i.rename(context.Background()))
		everything(t, i)
		require.NotEmpty(t, i.spans.Ended())
		for _, span := range i.spans.Ended() {
			shown := fmt.Sprint(span.Name(), span.Attributes(), span.Status(), span.Events())
			assert.NotContains(t, shown, tokenpatchtest.AccessToken)
			assert.NotContains(t, shown, tokenpatchtest.APIKey)
			assert.NotContains(t, shown, newName)
		}
		for name, m := range i.metrics(t) {
			shown := fmt.Sprintf("%+v", m.Data)
			assert.NotContains(t, shown, idV1, name)
			assert.NotContains(t, shown, idV2, name)
			assert.NotContains(t, shown, tokenpatchtest.AccessToken, name)
		}
	})
}

// Ids and texts of a service make no new sets of attributes.
func TestMetricsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := instrument(t)
		for n := range 50 {
			i.service.Inject(tokenpatchtest.Fault{Status: 404, Header: http.Header{"X-Request-Id": {fmt.Sprint(n)}},
				Body: fmt.Sprintf(`{"code": "code_%d", "message": "message %d", "id": "%d"}`, n, n, n)})
			assert.Error(t, i.rename(context.Background()))
		}
		for _, m := range i.metrics(t) {
			_, keys := kindOf(t, m)
			assert.LessOrEqual(t, len(keys), 6, m.Name) // those of one set
		}
	})
}

// tableOf lists the rows of the table under a heading of the README, without its head.
func tableOf(t *testing.T, heading string) [][]string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "\n## "+heading+"\n")
	require.True(t, found, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	var rows [][]string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "|") {
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|\n"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			rows = append(rows, cells)
		}
	}
	require.Greater(t, len(rows), 2)
	return rows[2:]
}

func namesIn(text string) []string {
	var names []string
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}
