package fleet_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNotes(t *testing.T) {
	onEach(t, func(t *testing.T, source string) {
		b := newBench(t, source)
		note, err := b.store.Note(t.Context(), "run", "n")
		require.NoError(t, err)
		assert.Nil(t, note)

		var wg sync.WaitGroup // no update is lost
		for range 20 {
			wg.Go(func() {
				assert.NoError(t, b.store.UpdateNote(t.Context(), "run", "n", func(before []byte) ([]byte, error) {
					n, _ := strconv.Atoi(string(before))
					return fmt.Append(nil, n+1), nil
				}))
			})
		}
		wg.Wait()
		require.ErrorIs(t, b.store.UpdateNote(t.Context(), "run", "n", func([]byte) ([]byte, error) { return []byte("lost"), assert.AnError }), assert.AnError)
		b.add("run", rename(b.token("a"), "new"))
		note, err = b.store.Note(t.Context(), "run", "n")
		require.NoError(t, err)
		assert.Equal(t, "20", string(note))

		require.NoError(t, b.store.Delete(t.Context(), "run"))
		note, err = b.store.Note(t.Context(), "run", "n")
		require.NoError(t, err)
		assert.Nil(t, note, "notes go with their run")
	})
}
