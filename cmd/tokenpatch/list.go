package main

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/tokenpatch/tokenpatch"
)

// list writes the tokens of V2, without their values.
func list(ctx context.Context, a *app) error {
	if err := a.checkOutput(); err != nil {
		return err
	}
	config := a.config()
	if err := credentials(config, "", "it lists tokens of V2"); err != nil {
		return err
	}
	seen := newTraffic()
	config.Hooks = seen.hooks()
	client, err := a.client(config)
	if err != nil {
		return err
	}
	var done atomic.Int64
	end := a.showReading(seen, &done, 0)
	defer end()
	return a.output(func(w io.Writer) error {
		for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{ShowAll: a.all}) {
			if err != nil {
				return err
			}
			done.Add(1)
			shown := *token
			shown.Token = tokenpatch.Field[tokenpatch.Secret]{}
			if err := writeJSON(w, shown); err != nil {
				return err
			}
		}
		return nil
	})
}
