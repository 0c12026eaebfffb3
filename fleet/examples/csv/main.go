// Csv changes the tokens in a file: each row has an id, a name and a role. If it is interrupted or
// killed, start it again with the same file to resume.
//
//	LAUNCHDARKLY_ACCESS_TOKEN=... go run github.com/tokenpatch/tokenpatch/fleet/examples/csv@latest tokens.csv
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/fleet"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("want one argument: a CSV file with the columns id, name and role")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := change(ctx, os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func change(ctx context.Context, file string) error {
	store, err := fleet.Open(ctx, file+".db")
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.Add(ctx, file, changes(file), fleet.AddOptions{}); err != nil {
		return err
	}
	options := fleet.Options{Client: tokenpatch.ConfigFromEnv(), StopAfter: 0.1}
	options.Hooks.Progress = func(_ context.Context, p fleet.Progress) { // every few seconds
		log.Printf("%d of %d are pending, %d were not applied, %d are unknown", p.Pending, p.Total(), p.NotApplied, p.Unknown)
	}
	if err := store.Run(ctx, file, options); err != nil {
		return err // what was sent has been waited for: start it again to go on
	}
	for result, err := range store.Results(ctx, file) {
		if err != nil {
			return err
		}
		fmt.Println(result.Change.ID, result.State, result.Err)
	}
	return nil
}

// changes reads the file row by row.
func changes(file string) func(yield func(fleet.Change, error) bool) {
	return func(yield func(fleet.Change, error) bool) {
		source, err := os.Open(file)
		if err != nil {
			yield(fleet.Change{}, err)
			return
		}
		defer source.Close()
		rows := csv.NewReader(source)
		rows.FieldsPerRecord = 3
		for {
			row, err := rows.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && row[0] == "id" {
				continue // the head
			}
			if !yield(changeOf(row), err) || err != nil {
				return
			}
		}
	}
}

func changeOf(row []string) fleet.Change {
	if row == nil {
		return fleet.Change{}
	}
	return fleet.Change{ID: row[0], Want: &fleet.Want{
		Name: tokenpatch.Set(row[1]), Role: tokenpatch.Set(tokenpatch.Role(row[2])), Comment: "from the list",
	}}
}
