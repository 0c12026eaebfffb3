package main

import (
	"context"
	"io"

	"github.com/tokenpatch/tokenpatch"
)

// list writes the tokens of V2, without their values.
func list(ctx context.Context, a *app) error {
	config := a.config()
	if err := credentials(config, "", "it lists tokens of V2"); err != nil {
		return err
	}
	client, err := a.client(config)
	if err != nil {
		return err
	}
	return a.output(func(w io.Writer) error {
		for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{ShowAll: a.all}) {
			if err != nil {
				return err
			}
			shown := *token
			shown.Token = tokenpatch.Field[tokenpatch.Secret]{}
			if err := writeJSON(w, shown); err != nil {
				return err
			}
		}
		return nil
	})
}
