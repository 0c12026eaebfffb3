//go:build !race

package tokenpatch_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

// The library allocates no more than this. With the race detector, which allocates
// too, the test is left out.
func TestAllocations(t *testing.T) {
	noContent, token := &http.Response{StatusCode: 204}, []byte(tokenJSON)
	transport := &http.Transport{Protocols: new(http.Protocols)} // one of net/http's own, that gets its responses from here
	transport.Protocols.SetHTTP1(true)                           // for HTTP/2 it would register https itself, and log that it cannot
	transport.RegisterProtocol("https", roundTripper(func(*http.Request) (*http.Response, error) { return noContent, nil }))
	_, client := newPair(t, func(c *tokenpatch.Config) { c.HTTPClient = &http.Client{Transport: transport} })
	patch := tokenpatch.NewPatch().SetName("deployer")
	appends := patch.Clone().AddCustomRoleID("qa")
	decoded := decodeTokenJSON(t, tokenJSON)
	for name, test := range map[string]struct {
		most float64
		do   func() error
	}{
		"a call, most of net/http's own work aside": {50, func() error { return updateName(t.Context(), client) }},
		"building and encoding a patch of three operations": {2, func() error {
			_, err := tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader).SetCustomRoleIDs("qa").MarshalJSON()
			return err
		}},
		"decoding a full token": {13, func() error { return new(tokenpatch.Token).UnmarshalJSON(token) }},
		"encoding a full token": {1, func() error {
			_, err := decoded.MarshalJSON()
			return err
		}},
		"whether a patch of setters may be sent again": {0, func() error {
			_ = patch.Replay()
			return nil
		}},
		"whether an append may be sent again": {19, func() error {
			_ = appends.Replay()
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, test.do())
			got := testing.AllocsPerRun(100, func() { _ = test.do() })
			t.Logf("%.0f allocations", got)
			assert.LessOrEqual(t, got, test.most)
		})
	}
}
