package fleetotel_test

import (
	"context"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
	"github.com/tokenpatch/tokenpatch/fleet/fleetotel"
	"github.com/tokenpatch/tokenpatch/tokenpatchotel"
)

const scope = "github.com/tokenpatch/tokenpatch/fleet/fleetotel"

// The README lists exactly the existing names, and the values that occur.
func TestReadmeListsEveryName(t *testing.T) {
	b := everything(t)
	values := map[string][]string{}
	for _, row := range tableOf(t, "Values") {
		values[namesIn(row[0])[0]] = namesIn(row[1])
	}
	spans := map[string][]string{}
	for _, span := range b.spans.Ended() {
		if span.InstrumentationScope().Name != scope {
			continue
		}
		row := span.Name() + " " + span.SpanKind().String()
		for key, value := range attributes(span) {
			spans[row] = append(spans[row], key)
			if key == "tokenpatch.api" || key == "tokenpatch.outcome" {
				assert.Contains(t, values[key], value)
			}
		}
	}
	assert.Equal(t, listed(t, "Spans"), sorted(spans))

	metrics := map[string][]string{}
	for name, m := range b.metrics() {
		if !strings.HasPrefix(name, "tokenpatch.fleet.") {
			continue
		}
		kind := "gauge"
		if _, ok := m.Data.(metricdata.Histogram[float64]); ok {
			kind = "histogram"
		}
		row := name + " " + kind + ", `" + m.Unit + "`"
		for set := range points(t, m) {
			for pair := range strings.SplitSeq(set, ",") {
				key, _, _ := strings.Cut(pair, "=")
				metrics[row] = append(metrics[row], key)
				assert.Contains(t, values, key)
			}
		}
	}
	assert.Equal(t, listed(t, "Metrics"), sorted(metrics))
}

// listed are the names in the first column of a table, with what is in the second, and the names in the third.
func listed(t *testing.T, heading string) map[string][]string {
	rows := map[string][]string{}
	for _, row := range tableOf(t, heading) {
		rows[namesIn(row[0])[0]+" "+row[1]] = namesIn(row[2])
	}
	return sorted(rows)
}

// sorted sorts the lists, and takes each value once.
func sorted(lists map[string][]string) map[string][]string {
	for key, list := range lists {
		lists[key] = slices.Compact(slices.Sorted(slices.Values(list)))
	}
	return maps.Clone(lists)
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
			cells := strings.Split(strings.Trim(line, "|\n"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		}
	}
	require.Greater(t, len(rows), 2)
	return rows[2:]
}

func namesIn(text string) (names []string) {
	for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

// readme is the README's Go block.
func readme(ctx context.Context, store *fleet.Store) error {
	options, err := fleetotel.Instrument(fleet.Options{Client: tokenpatch.ConfigFromEnv()}, tokenpatchotel.Options{})
	if err != nil {
		return err
	}
	err = store.Run(ctx, "review", options)
	return err
}

func TestReadmeShowsWhatCompiles(t *testing.T) {
	b := newBench(t)
	require.ErrorAs(t, readme(context.Background(), b.store), new(*fleet.UnknownRunError))
	document, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("golden_test.go")
	require.NoError(t, err)
	_, block, _ := strings.Cut(string(document), "```go\n")
	block, _, _ = strings.Cut(block, "\n```")
	assert.Contains(t, strings.ReplaceAll(string(source), "\n\t", "\n"), block)
}
