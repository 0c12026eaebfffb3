package repository

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/internal/engine"
	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

// The README's table of errors is true of every status in it, and names every error type.
func TestReadmeErrors(t *testing.T) {
	section := sectionOf(t, "README.md", "Errors and outcomes")
	checked := 0
	for _, row := range rowsOf(t, section) {
		status, types, outcome := row[0], typesIn(row[1]), row[2]
		code, err := strconv.Atoi(status)
		if err != nil {
			continue // a row without a status
		}
		checked++
		for _, api := range apis {
			synctest.Test(t, func(t *testing.T) {
				_, err := api.meet(t, code)
				assert.NotEmpty(t, typed(err, types), "%s %d: the README says %v, not %T: %v", api.name, code, types, err, err)
				assert.Equal(t, outcome, tokenpatch.OutcomeOf(err).String(), "%s %d: %v", api.name, code, err)
			})
		}
	}
	assert.Positive(t, checked, "the table has statuses")
	for _, typ := range documented(t, ".").Types {
		if strings.HasSuffix(typ.Name, "Error") {
			assert.Contains(t, typesIn(section), typ.Name, "the README's section on errors leaves out a type")
		}
	}
}

// The table of what is sent again is true of every status in it.
func TestRetriesTable(t *testing.T) {
	checked := 0
	for _, row := range rowsOf(t, sectionOf(t, "docs/outcomes.md", "What is sent again")) {
		what, again, _ := strings.Cut(strings.Join(row, "|"), "|")
		for _, status := range regexp.MustCompile(`\b[1-5]\d\d\b`).FindAllString(what, -1) {
			code, err := strconv.Atoi(status)
			require.NoError(t, err)
			checked++
			for _, api := range apis {
				if strings.Contains(what, "on V") && !strings.Contains(what, "on "+api.name) {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					requests, err := api.meet(t, code)
					want := strings.HasPrefix(again, "yes") || strings.HasPrefix(again, "if") && api.replayable
					assert.Equal(t, want, requests > 1, "%s %d: %d requests, and the table has %q: %v", api.name, code, requests, again, err)
				})
			}
		}
	}
	assert.Positive(t, checked, "the table has statuses")
}

// The list of statuses that are not applied is complete and true.
func TestStatusesThatAreNotApplied(t *testing.T) {
	_, list, found := strings.Cut(sectionOf(t, "docs/outcomes.md", "What a response proves"), "\n- **Both**: ")
	require.True(t, found)
	list, _, found = strings.Cut(list, "\n- **Both**: ")
	require.True(t, found)
	listed := map[int]bool{}
	for _, match := range regexp.MustCompile(`(\d{3})(?: to (\d{3}))?`).FindAllStringSubmatch(list, -1) {
		first, _ := strconv.Atoi(match[1])
		last := first
		if match[2] != "" {
			last, _ = strconv.Atoi(match[2])
		}
		for ; first <= last; first++ {
			listed[first] = true
		}
	}
	for status := 100; status <= 599; status++ {
		assert.Equal(t, listed[status], engine.StatusEffect(status) == engine.NotApplied, "%d", status)
	}
}

// The figures at the top of the README are those of the table in docs/outcomes.md.
func TestReadmeFigures(t *testing.T) {
	top, _, _ := strings.Cut(text(t, "README.md"), "\n## ")
	_, table, found := strings.Cut(sectionOf(t, "docs/outcomes.md", "Figures"), "\n| of 20,000 calls each ")
	require.True(t, found)
	rows := rowsOf(t, "| of 20,000 calls each "+table)
	for i, sentence := range []string{"%s of 20,000 appended roles were added twice", "%s of the 100,000 calls reported a wrong outcome"} {
		assert.Contains(t, strings.Join(strings.Fields(top), " "), fmt.Sprintf(sentence, rows[i][3]), rows[i][0])
		assert.Equal(t, []string{"0", "0"}, rows[i][1:3], "none reported a wrong outcome and nothing was applied twice: %s", rows[i][0])
	}
}

// api is one of the two, with a valid call.
type api struct {
	name       string
	api        tokenpatchtest.API
	replayable bool // the call
	call       func(context.Context, *tokenpatch.Client) error
}

var apis = []api{
	{"V1", tokenpatchtest.V1, true, func(ctx context.Context, client *tokenpatch.Client) error {
		return client.V1.UpdateToken(ctx, uuid.MustParse(v1Token), tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
	}},
	{"V2", tokenpatchtest.V2, false, func(ctx context.Context, client *tokenpatch.Client) error {
		_, err := client.V2.PatchToken(ctx, v2Token, tokenpatch.NewPatch().AddCustomRoleID("release"))
		return err
	}},
}

// meet makes the call to a service that responds to everything with a status, and returns the
// number of requests. The context leaves a minute; after a first 429 the service asks for an hour.
func (a api) meet(t *testing.T, status int) (requests int, err error) {
	service := tokenpatchtest.New()
	defer service.Close()
	require.NoError(t, service.AddV1(`{"id": "`+v1Token+`"}`))
	require.NoError(t, service.AddV2(settings))
	fault := tokenpatchtest.Fault{API: a.api, Status: status, Body: `{"code": "some_code", "message": "some message"}`}
	if status == http.StatusTooManyRequests {
		service.Inject(fault)
		fault.Header = http.Header{"Retry-After": {"3600"}}
	}
	fault.Times = -1
	service.Inject(fault)
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:         tokenpatch.V1Config{APIKey: tokenpatchtest.APIKey},
		V2:         tokenpatch.V2Config{AccessToken: tokenpatchtest.AccessToken},
		HTTPClient: service.Client(),
	})
	require.NoError(t, err)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = a.call(ctx, client)
	return service.RequestCount(), err
}

// typed lists which of the types, by their names, are in the chain of err.
func typed(err error, types []string) []string {
	var found []string
	for ; err != nil; err = errors.Unwrap(err) {
		for _, name := range types {
			if fmt.Sprintf("%T", err) == "*tokenpatch."+name {
				found = append(found, name)
			}
		}
	}
	return found
}

func typesIn(text string) []string {
	var names []string
	for _, match := range regexp.MustCompile("`\\*([A-Za-z0-9]+)`").FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

// sectionOf returns the text under a heading of a document, up to the next one.
func sectionOf(t *testing.T, document, heading string) string {
	t.Helper()
	_, section, found := strings.Cut(text(t, document), "\n## "+heading+"\n")
	require.True(t, found, "%s has no section %q", document, heading)
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// rowsOf lists the rows of the first table of a section, without its head.
func rowsOf(t *testing.T, section string) [][]string {
	t.Helper()
	var rows [][]string
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "|"):
			cells := strings.Split(strings.Trim(line, "|"), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			rows = append(rows, cells)
		case len(rows) > 0:
			return rows[2:]
		}
	}
	require.NotEmpty(t, rows)
	return rows[2:]
}
