// Tokenpatch is a program that makes one call with tokenpatch, for its size.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/tokenpatch/tokenpatch"
)

func main() {
	client, err := tokenpatch.NewClient(tokenpatch.ConfigFromEnv())
	if err == nil {
		_, err = client.V2.PatchToken(context.Background(), os.Args[1], tokenpatch.NewPatch().SetName("ci"))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
