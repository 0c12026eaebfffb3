//go:build !race

package benchmarks

import (
	"context"
	"net/http"
	"testing"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
)

// local is a protocol whose responses come from here.
type local struct{ response *http.Response }

func (l local) RoundTrip(*http.Request) (*http.Response, error) { return l.response, nil }

// The library allocates no more than this. With the race detector, which allocates
// too, the test is left out.
func TestAllocations(t *testing.T) {
	transport := &http.Transport{Protocols: new(http.Protocols)} // one of net/http's own, without its work
	transport.Protocols.SetHTTP1(true)                           // for HTTP/2 it would register https itself, and log a failure
	transport.RegisterProtocol("https", local{&http.Response{StatusCode: http.StatusNoContent}})
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1: tokenpatch.V1Config{APIKey: "benchmark"}, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	patch := sets()
	var decoded tokenpatch.Token
	if err := decoded.UnmarshalJSON([]byte(fullToken)); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		most float64
		do   func() error
	}{
		"a call, most of net/http's own work aside": {50, func() error {
			return client.V1.UpdateToken(context.Background(), uuid.MustParse(deepsetID), tokenpatch.TokenUpdate{Name: tokenpatch.Set("ci")})
		}},
		"building and encoding a patch of three operations": {3, func() error {
			_, err := sets().MarshalJSON()
			return err
		}},
		"decoding a full token": {18, func() error { return new(tokenpatch.Token).UnmarshalJSON([]byte(fullToken)) }},
		"encoding a full token": {4, func() error {
			_, err := decoded.MarshalJSON()
			return err
		}},
		"whether a patch of setters may be sent again": {0, func() error {
			_ = patch.Replay()
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if err := test.do(); err != nil {
				t.Fatal(err)
			}
			got := testing.AllocsPerRun(100, func() { _ = test.do() })
			t.Logf("%.0f allocations", got)
			if got > test.most {
				t.Errorf("%.0f allocations, at most %.0f are expected", got, test.most)
			}
		})
	}
}
