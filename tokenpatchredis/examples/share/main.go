// Share makes tokens read-only. However many of it run at once, on however many machines: they share one rate budget.
//
//	LAUNCHDARKLY_ACCESS_TOKEN=... REDIS=127.0.0.1:6379 \
//	  go run github.com/tokenpatch/tokenpatch/tokenpatchredis/examples/share@latest 61095542756dba551110ae21
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchredis"
)

func main() {
	if len(os.Args) == 1 {
		log.Fatal("want arguments: the ids of tokens")
	}
	if err := makeReadOnly(context.Background(), os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}

func makeReadOnly(ctx context.Context, ids []string) error {
	store := redis.NewClient(&redis.Options{Addr: os.Getenv("REDIS")})
	defer store.Close()
	config := tokenpatch.ConfigFromEnv()
	config.Budget = tokenpatchredis.New(store)
	config.V1.Account, config.V2.Account = "acme", "acme" // any names, the same in every program; no credential
	config.V2.Share = 0.5                                 // leave the other half of the limit to production
	client, err := tokenpatch.NewClient(config)
	if err != nil {
		return err
	}
	readOnly := func(token *tokenpatch.Token) error {
		token.UseRole(tokenpatch.RoleReader)
		return nil
	}
	for _, id := range ids {
		if _, err := client.V2.EditToken(ctx, id, tokenpatch.EditOptions{}, readOnly); err != nil {
			return fmt.Errorf("%s is %s: %w", id, tokenpatch.OutcomeOf(err), err)
		}
		fmt.Println(id, "applied")
	}
	return nil
}
