package main

import (
	"net/http"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the program prints is what the service knows of the tokens: each change was made once, and no request was refused for
// the rate limit.
func TestQuickstart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, err := newService()
		require.NoError(t, err)
		defer service.Close()

		require.NoError(t, demonstrate(t.Context(), service))

		token, _ := service.V1(v1Token)
		assert.JSONEq(t, `{"id": "6c7f1e6a-4f5e-4a52-9f57-0d8f2f4b8a11", "name": "ci", "organization_role": null,
			"personal": null, "role_id": null}`, string(token))
		assert.Equal(t, 1, service.Changes(v1Token))
		assert.Equal(t, 1+12, service.Changes(v2Token))
		for _, request := range service.Requests() {
			assert.NotEqual(t, http.StatusTooManyRequests, request.Status)
		}
	})
}
