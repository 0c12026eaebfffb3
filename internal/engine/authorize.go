package engine

import (
	"context"
	"maps"
	"net/http"
)

// authorize sets the credential of each attempt. After a 401 it asks for another one at once, and once in a call.
type authorize struct {
	*call
	next       http.RoundTripper
	authorized http.Request // the latest request, with its credential
}

func (a *authorize) RoundTrip(r *http.Request) (*http.Response, error) {
	if !a.renewed {
		a.credential, a.Stopped = a.obtain(r.Context(), "")
		if a.Stopped != nil {
			return nil, a.Stopped
		}
	}
	a.renewed = false
	a.authorized = *r
	a.authorized.Header = maps.Clone(r.Header)
	a.authorized.Header["Authorization"] = []string{a.engine.Scheme + a.credential}
	a.permit.Use(a.credential)
	response, err := a.next.RoundTrip(&a.authorized)
	if a.Status == http.StatusUnauthorized && !a.asked {
		a.asked = true
		other, err := a.obtain(r.Context(), a.credential)
		a.renewed = err == nil && other != a.credential
		if a.renewed {
			a.credential = other
		}
	}
	return response, err
}

// obtain asks for a credential, and adds it to what must not be shown.
func (c *call) obtain(ctx context.Context, refused string) (string, error) {
	credential, err := c.engine.Credential(ctx, refused)
	if err != nil {
		return "", err
	}
	c.engine.Known.Learn(credential)
	c.request.Secrets = c.request.Secrets.With(credential)
	return credential, nil
}
