package tokenpatchredis_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchredis"
)

var _ tokenpatch.Budget = (*tokenpatchredis.Budget)(nil)

func TestUpdateIsAtomic(t *testing.T) {
	c, key := client(t)
	budget := tokenpatchredis.New(c)
	const goroutines, each = 20, 25
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range each {
				assert.NoError(t, budget.Update(t.Context(), key, func(state []byte, _ time.Time) ([]byte, time.Duration, error) {
					n, _ := strconv.Atoi(string(state))
					return strconv.AppendInt(nil, int64(n+1), 10), time.Minute, nil
				}))
			}
		})
	}
	wg.Wait()
	assert.Equal(t, strconv.Itoa(goroutines*each), c.Get(t.Context(), key).Val())
	ttl := c.PTTL(t.Context(), key).Val()
	assert.True(t, ttl > 50*time.Second && ttl <= time.Minute, ttl)
}

func TestUpdateTellsTheServersTime(t *testing.T) {
	c, key := client(t)
	before := c.Time(t.Context()).Val()
	require.NoError(t, tokenpatchredis.New(c).Update(t.Context(), key, func(state []byte, now time.Time) ([]byte, time.Duration, error) {
		assert.Empty(t, state)
		assert.WithinRange(t, now, before, c.Time(t.Context()).Val())
		return []byte("x"), time.Minute, nil
	}))
}

func TestAnErrorLeavesTheState(t *testing.T) {
	c, key := client(t)
	require.NoError(t, c.Set(t.Context(), key, "before", time.Minute).Err())
	errNo := errors.New("no")
	err := tokenpatchredis.New(c).Update(t.Context(), key, func([]byte, time.Time) ([]byte, time.Duration, error) {
		return []byte("after"), time.Minute, errNo
	})
	assert.ErrorIs(t, err, errNo)
	assert.Equal(t, "before", c.Get(t.Context(), key).Val())
}

func TestWhatSomebodyElseWroteIsBounded(t *testing.T) {
	c, key := client(t)
	for name, write := range map[string]func(){
		"a megabyte": func() { c.Set(t.Context(), key, strings.Repeat("x", 1<<20), time.Minute) },
		"a list":     func() { c.Del(t.Context(), key); c.RPush(t.Context(), key, "x") },
	} {
		write()
		require.NoError(t, tokenpatchredis.New(c).Update(t.Context(), key, func(state []byte, _ time.Time) ([]byte, time.Duration, error) {
			assert.NotEmpty(t, state, name)
			assert.LessOrEqual(t, len(state), 10<<10, name)
			return []byte("after"), time.Minute, nil
		}), name)
		assert.Equal(t, "after", c.Get(t.Context(), key).Val(), name)
	}
}

func TestUpdateEndsWithItsContext(t *testing.T) {
	c, key := client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := tokenpatchredis.New(c).Update(ctx, key, func([]byte, time.Time) ([]byte, time.Duration, error) {
		c.Set(context.Background(), key, time.Now().String(), time.Minute) // somebody else is always quicker
		return []byte("x"), time.Minute, nil
	})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(began), 5*time.Second)
}

func TestARedisThatIsNotThere(t *testing.T) {
	c := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	defer c.Close()
	err := tokenpatchredis.New(c).Update(t.Context(), "key", func([]byte, time.Time) ([]byte, time.Duration, error) {
		t.Error("called")
		return nil, 0, nil
	})
	assert.Error(t, err)
}
