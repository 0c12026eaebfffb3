package main

import (
	"errors"
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

// needs is why there must be a credential for each API: the first line about a token of it.
func needs(file *changefile.File) (v1, v2 string) {
	if file.V1 > 0 {
		v1 = fmt.Sprintf("%s: line %d is about a token of V1", file.Name, file.V1)
	}
	if file.V2 > 0 {
		v2 = fmt.Sprintf("%s: line %d is about a token of V2", file.Name, file.V2)
	}
	return v1, v2
}

// variables are the settings of a Config that come from the environment, by the names that its errors give them.
var variables = map[string]string{
	"Config.V1.BaseURL": "DEEPSET_API_URL", "Config.V1.APIKey": "DEEPSET_API_KEY",
	"Config.V2.BaseURL": "LAUNCHDARKLY_API_HOST", "Config.V2.AccessToken": "LAUNCHDARKLY_ACCESS_TOKEN",
}

// client returns a client whose calls are traced and measured if the environment asks for that, or an error that names the
// variable that is wrong.
func (a *app) client(config tokenpatch.Config) (*tokenpatch.Client, error) {
	config, err := a.telemetry.Client(config)
	if err != nil {
		return nil, err
	}
	client, err := tokenpatch.NewClient(config)
	var mistake *tokenpatch.InputError
	if errors.As(err, &mistake) && variables[mistake.Field] != "" {
		mistake.Field = variables[mistake.Field]
	}
	return client, err
}

// refusedVariable names the variable of a credential that was refused, for the end of the error's text; else it is empty.
func refusedVariable(err error) string {
	var refused *tokenpatch.UnauthorizedError
	switch {
	case !errors.As(err, &refused):
		return ""
	case refused.API == "V1":
		return "; check " + variables["Config.V1.APIKey"]
	default:
		return "; check " + variables["Config.V2.AccessToken"]
	}
}

// credentials checks that there is one for each API that is used: v1 and v2 are why it is, or empty.
func credentials(config tokenpatch.Config, v1, v2 string) error {
	if v1 != "" && config.V1.APIKey == "" {
		return fmt.Errorf("%s: want DEEPSET_API_KEY in the environment", v1)
	}
	if v2 != "" && config.V2.AccessToken == "" {
		return fmt.Errorf("%s: want LAUNCHDARKLY_ACCESS_TOKEN in the environment", v2)
	}
	return nil
}
