package tokenpatchredis_test

import (
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/tokenpatchredis"
)

// Every program of the account is given the same Redis and the same Account.
func ExampleNew() {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	defer client.Close()

	config := tokenpatch.ConfigFromEnv()
	config.Budget = tokenpatchredis.New(client)
	config.V1.Account, config.V2.Account = "acme", "acme"
	if _, err := tokenpatch.NewClient(config); err != nil {
		fmt.Println(err)
	}
}
