package main

import (
	"fmt"
	"net/http"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/changefile"
)

// config is how to reach the services: by the environment alone.
func (a *app) config() tokenpatch.Config {
	config := tokenpatch.ConfigFromEnv()
	config.HTTPClient = &http.Client{Timeout: a.timeout}
	config.UserAgent = "tokenpatch-command"
	return config
}

// clientFor returns a client for the tokens that a file is about.
func (a *app) clientFor(config tokenpatch.Config, file *changefile.File) (*tokenpatch.Client, error) {
	var v1, v2 string
	if file.V1 > 0 {
		v1 = fmt.Sprintf("%s: line %d is about a token of V1", file.Name, file.V1)
	}
	if file.V2 > 0 {
		v2 = fmt.Sprintf("%s: line %d is about a token of V2", file.Name, file.V2)
	}
	if err := credentials(config, v1, v2); err != nil {
		return nil, err
	}
	return a.client(config)
}

// client returns a client whose calls are traced and measured, where the environment asks for that.
func (a *app) client(config tokenpatch.Config) (*tokenpatch.Client, error) {
	config, err := a.telemetry.Client(config)
	if err != nil {
		return nil, err
	}
	return tokenpatch.NewClient(config)
}

// credentials sees to it that there is one for each API that is used: v1 and v2 say why it is, and are empty where it is not.
func credentials(config tokenpatch.Config, v1, v2 string) error {
	if v1 != "" && config.V1.APIKey == "" {
		return fmt.Errorf("%s: want DEEPSET_API_KEY in the environment", v1)
	}
	if v2 != "" && config.V2.AccessToken == "" {
		return fmt.Errorf("%s: want LAUNCHDARKLY_ACCESS_TOKEN in the environment", v2)
	}
	return nil
}
