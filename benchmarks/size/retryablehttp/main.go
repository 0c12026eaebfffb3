// Retryablehttp is what tokenpatch is compared with for its size: one call with
// go-retryablehttp and plain structs.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/hashicorp/go-retryablehttp"
)

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

func main() {
	if err := call(os.Args[1]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func call(id string) error {
	body, err := json.Marshal([]operation{{"replace", "/name", "ci"}})
	if err != nil {
		return err
	}
	request, err := retryablehttp.NewRequest("PATCH", "https://app.launchdarkly.com/api/v2/tokens/"+id, body)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", os.Getenv("LAUNCHDARKLY_ACCESS_TOKEN"))
	request.Header.Set("Content-Type", "application/json")
	response, err := retryablehttp.NewClient().Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	received, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var token struct {
		ID string `json:"_id"`
	}
	return json.Unmarshal(received, &token)
}
