package main

import (
	"context"
	"io"

	"github.com/tokenpatch/tokenpatch"
)

// list writes the tokens of V2, without their values.
func list(ctx context.Context, a *app) error {
	client, err := a.client()
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

// client is a client for what needs no store.
func (a *app) client() (*tokenpatch.Client, error) {
	config, err := a.config(nil)
	if err != nil {
		return nil, err
	}
	return tokenpatch.NewClient(config)
}
