package tokenpatchtest_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const testLastModified = `{"op": "test", "path": "/lastModified", "value": 1443652232590}, `

func TestTestsOfLastModifiedCanBeRefused(t *testing.T) {
	service, client := newService(t)
	service.SetOptions(tokenpatchtest.Options{RefuseLastModifiedTest: true})
	guarded := "[" + testLastModified + rename(v2Path, "after")[1:]
	r := send(t, client, "http://a"+v2Path, guarded)
	assert.Equal(t, 422, r.status)
	assert.Contains(t, r.body, "lastModified cannot be tested")
	assert.Zero(t, service.Changes(tokenID))
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, rename(v2Path, "after")).status)
	assert.NotEqual(t, "1443652232590", member(t, service, "lastModified"), "it is raised all the same")

	service.SetOptions(tokenpatchtest.Options{})
	require.NoError(t, service.AddV2(document))
	assert.Equal(t, 200, send(t, client, "http://a"+v2Path, guarded).status)
	assert.Equal(t, 422, send(t, client, "http://a"+v2Path, guarded).status, "it was raised")
}

// Each write raises lastModified, even without a difference or in the same millisecond.
func TestEachWriteRaisesLastModified(t *testing.T) {
	inBubble(t, func(t *testing.T, service *tokenpatchtest.Service, patch func(string, ...edit) result) {
		require.NoError(t, service.AddV2(document))
		before := int64(1443652232590)
		for range 5 {
			require.Equal(t, 200, patch(v2Path).status)
			after, err := strconv.ParseInt(member(t, service, "lastModified"), 10, 64)
			require.NoError(t, err)
			assert.Greater(t, after, before)
			before = after
		}
	})
}

// Reads behind a replica are up to ReplicaLag old, and jump back and forth.
func TestReadsLag(t *testing.T) {
	seconds := func(seed uint64) (read []int) {
		synctest.Test(t, func(t *testing.T) {
			service, client := newService(t)
			service.SetSeed(seed)
			service.SetOptions(tokenpatchtest.Options{ReplicaLag: 5 * time.Second})
			for second := range 200 {
				require.NoError(t, service.AddV2(fmt.Sprintf(`{"_id": "clock", "name": "%d"}`, second)))
				time.Sleep(500 * time.Millisecond)
				read = append(read, second-number(t, client, "/api/v2/tokens/clock"))
				listed := number(t, client, "/api/v2/tokens?offset=1")
				require.True(t, second-5 <= listed && listed <= second, listed)
				time.Sleep(500 * time.Millisecond)
			}
		})
		return read
	}
	read := seconds(1)
	assert.Equal(t, read, seconds(1), "the same seed, the same reads")
	assert.NotEqual(t, read, seconds(2))
	ages := make(map[int]int)
	forward, back := 0, 0
	for i, age := range read[10:] {
		ages[age]++
		if i > 0 && age > read[10+i-1]+1 {
			back++
		} else {
			forward++
		}
	}
	assert.Len(t, ages, 6, "%v", ages)
	for age := range 6 {
		assert.Greater(t, ages[age], 5, "%v", ages)
	}
	assert.Greater(t, back, 20)
	assert.Greater(t, forward, 20)
}

// number returns the name of a token, which is a number.
func number(t *testing.T, client *http.Client, path string) int {
	t.Helper()
	r := read(t, client, path)
	require.Equal(t, 200, r.status, r.body)
	_, name, _ := strings.Cut(r.body, `"name":"`)
	name, _, _ = strings.Cut(name, `"`)
	n, err := strconv.Atoi(name)
	require.NoError(t, err)
	return n
}

// What was just added is there; what was just removed may be there still.
func TestReadsLagBehindRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, client := newService(t)
		service.SetOptions(tokenpatchtest.Options{ReplicaLag: 5 * time.Second})
		for range 20 {
			assert.Equal(t, 200, read(t, client, v2Path).status)
		}
		time.Sleep(10 * time.Second)
		service.Remove(tokenID)
		time.Sleep(2 * time.Second)
		statuses := make(map[int]int)
		for range 50 {
			statuses[read(t, client, v2Path).status]++
		}
		assert.Greater(t, statuses[200], 5, "%v", statuses)
		assert.Greater(t, statuses[404], 5, "%v", statuses)
		assert.Equal(t, 404, send(t, client, "http://a"+v2Path, rename(v2Path, "late")).status, "a write does not lag")
		time.Sleep(5 * time.Second)
		assert.Equal(t, 404, read(t, client, v2Path).status)
	})
}

func TestWhatIsStoredCanBeNormalized(t *testing.T) {
	service, client := newService(t)
	service.SetOptions(tokenpatchtest.Options{Normalize: true})
	r := send(t, client, "http://a"+v2Path, rename(v2Path, "  a name "))
	require.Equal(t, 200, r.status, r.body)
	assert.Equal(t, `"a name"`, member(t, service, "name"))
	assert.Equal(t, `["c","b","a"]`, member(t, service, "customRoleIds"))
	assert.Contains(t, r.body, `"name":"a name"`)
	assert.Contains(t, string(service.History(tokenID)[0].After), `["c","b","a"]`)
	send(t, client, "http://a"+v2Path, `[{"op": "remove", "path": "/customRoleIds"}]`)
	assert.Empty(t, member(t, service, "customRoleIds"))
}
