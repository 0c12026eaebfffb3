package benchmarks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
)

// A full token by the API's schema, with an unknown property.
const fullToken = `{
	"_links": {"parent": {"href": "/api/v2/tokens", "type": "application/json"}, "self": {"href": "/api/v2/tokens/61095542756dba551110ae21", "type": "application/json"}},
	"_id": "61095542756dba551110ae21", "ownerId": "569f514156e003339cfd3917", "memberId": "569f514183f2164430000002",
	"_member": {"_links": {"self": {"href": "/api/v2/members/569f514183f2164430000002", "type": "application/json"}},
		"_id": "569f514183f2164430000002", "firstName": "Ariel", "lastName": "Flores", "role": "admin", "email": "ariel@acme.com"},
	"name": "deployer", "description": "deploys, on Fridays too", "creationDate": 1628001602644, "lastModified": 1628001602644, "lastUsed": 1628001603644,
	"customRoleIds": ["5f0c1f2e3d4b5a6978879601", "5f0c1f2e3d4b5a6978879602"],
	"inlineRole": [{"effect": "allow", "resources": ["proj/*:env/*:flag/*"], "actions": ["*"]}, {"effect": "deny", "resources": ["proj/*:env/production:flag/*"], "actions": ["updateOn", "updateRules"]}],
	"role": "reader", "token": "1234", "serviceToken": true, "defaultApiVersion": 20240415, "expiry": 1700000000000
}`

// The plain structs of a program with net/http and encoding/json alone.
type (
	plainToken struct {
		ID                string               `json:"_id"`
		OwnerID           string               `json:"ownerId"`
		MemberID          string               `json:"memberId"`
		Member            *plainMember         `json:"_member,omitempty"`
		Name              *string              `json:"name,omitempty"`
		Description       *string              `json:"description,omitempty"`
		CreationDate      int64                `json:"creationDate"`
		LastModified      int64                `json:"lastModified"`
		CustomRoleIDs     []string             `json:"customRoleIds,omitempty"`
		InlineRole        []plainStatement     `json:"inlineRole,omitempty"`
		Role              *string              `json:"role,omitempty"`
		Token             *string              `json:"token,omitempty"`
		ServiceToken      *bool                `json:"serviceToken,omitempty"`
		Links             map[string]plainLink `json:"_links"`
		DefaultAPIVersion *int                 `json:"defaultApiVersion,omitempty"`
		LastUsed          *int64               `json:"lastUsed,omitempty"`
	}
	plainMember struct {
		Links     map[string]plainLink `json:"_links"`
		ID        string               `json:"_id"`
		FirstName *string              `json:"firstName,omitempty"`
		LastName  *string              `json:"lastName,omitempty"`
		Role      string               `json:"role"`
		Email     string               `json:"email"`
	}
	plainStatement struct {
		Resources    []string `json:"resources,omitempty"`
		NotResources []string `json:"notResources,omitempty"`
		Actions      []string `json:"actions,omitempty"`
		NotActions   []string `json:"notActions,omitempty"`
		Effect       string   `json:"effect"`
	}
	plainLink struct {
		Href *string `json:"href,omitempty"`
		Type *string `json:"type,omitempty"`
	}
	plainOperation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	plainUpdate struct {
		Name   *string    `json:"name,omitempty"`
		RoleID *uuid.UUID `json:"role_id"`
	}
)

const (
	tokenID   = "61095542756dba551110ae21"
	deepsetID = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
)

// newServer responds to every request as fast as it can: what is measured is the client.
func newServer(b *testing.B) (string, *http.Transport) {
	body := []byte(fullToken)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path[:8] == "/api/v1/" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	}))
	b.Cleanup(server.Close)
	transport := &http.Transport{MaxIdleConnsPerHost: 1024}
	b.Cleanup(transport.CloseIdleConnections)
	return server.URL, transport
}

func newClient(b *testing.B) *tokenpatch.Client {
	base, transport := newServer(b)
	client, err := tokenpatch.NewClient(tokenpatch.Config{
		V1:         tokenpatch.V1Config{BaseURL: base, APIKey: "benchmark"},
		V2:         tokenpatch.V2Config{BaseURL: base, AccessToken: "benchmark"},
		HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		b.Fatal(err)
	}
	return client
}

// The patches: one sets members alone and is obviously idempotent, the other has to be analyzed
// before it may be sent again.
func sets() *tokenpatch.Patch {
	return tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader).SetCustomRoleIDs("5f0c1f2e3d4b5a6978879601")
}

func appends() *tokenpatch.Patch {
	return tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader).AddCustomRoleID("5f0c1f2e3d4b5a6978879601")
}

var (
	plainSets    = []plainOperation{{"replace", "/name", "deployer"}, {"replace", "/role", "reader"}, {"replace", "/customRoleIds", []string{"5f0c1f2e3d4b5a6978879601"}}}
	plainAppends = []plainOperation{{"replace", "/name", "deployer"}, {"replace", "/role", "reader"}, {"add", "/customRoleIds/-", "5f0c1f2e3d4b5a6978879601"}}
)

func patchToken(b *testing.B, patch func() *tokenpatch.Patch) func() error {
	client := newClient(b)
	return func() error {
		_, err := client.V2.PatchToken(context.Background(), tokenID, patch())
		return err
	}
}

func plainPatchToken(b *testing.B, patch []plainOperation) func() error {
	base, transport := newServer(b)
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return func() error {
		body, err := json.Marshal(slices.Clone(patch))
		if err != nil {
			return err
		}
		received, err := send(client, http.MethodPatch, base+"/api/v2/tokens/"+tokenID, body)
		if err != nil {
			return err
		}
		var token plainToken
		return json.Unmarshal(received, &token)
	}
}

func getToken(b *testing.B) func() error {
	client := newClient(b)
	return func() error {
		_, err := client.V2.GetToken(context.Background(), tokenID)
		return err
	}
}

func plainGetToken(b *testing.B) func() error {
	base, transport := newServer(b)
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return func() error {
		body, err := send(client, http.MethodGet, base+"/api/v2/tokens/"+tokenID, nil)
		if err != nil {
			return err
		}
		var token plainToken
		return json.Unmarshal(body, &token)
	}
}

func updateToken(b *testing.B) func() error {
	client := newClient(b)
	id := uuid.MustParse(deepsetID)
	return func() error {
		return client.V1.UpdateToken(context.Background(), id, tokenpatch.TokenUpdate{
			Name: tokenpatch.Set("ci"), RoleID: tokenpatch.Null[uuid.UUID]()})
	}
}

func plainUpdateToken(b *testing.B) func() error {
	base, transport := newServer(b)
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	return func() error {
		name := "ci"
		body, err := json.Marshal(plainUpdate{Name: &name})
		if err != nil {
			return err
		}
		_, err = send(client, http.MethodPatch, base+"/api/v1/token/"+deepsetID, body)
		return err
	}
}

func send(client *http.Client, method, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	request.Header.Set("Authorization", "benchmark")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("LD-API-Version", "20240415")
	request.Header.Set("User-Agent", "benchmark")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	received, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return received, err
}

func run(b *testing.B, call func() error) {
	b.ReportAllocs()
	for b.Loop() {
		if err := call(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPatchToken(b *testing.B) {
	b.Run("of=tokenpatch", func(b *testing.B) { run(b, patchToken(b, sets)) })
	b.Run("of=net-http", func(b *testing.B) { run(b, plainPatchToken(b, plainSets)) })
}

func BenchmarkPatchTokenAppend(b *testing.B) {
	b.Run("of=tokenpatch", func(b *testing.B) { run(b, patchToken(b, appends)) })
	b.Run("of=net-http", func(b *testing.B) { run(b, plainPatchToken(b, plainAppends)) })
}

// BenchmarkParallel is calls from so many goroutines at once.
func BenchmarkParallel(b *testing.B) {
	for _, goroutines := range []int{64, 1000} {
		b.Run(fmt.Sprintf("goroutines=%d/of=tokenpatch", goroutines), func(b *testing.B) { runParallel(b, goroutines, patchToken(b, appends)) })
		b.Run(fmt.Sprintf("goroutines=%d/of=net-http", goroutines), func(b *testing.B) { runParallel(b, goroutines, plainPatchToken(b, plainAppends)) })
	}
}

func runParallel(b *testing.B, goroutines int, call func() error) {
	b.SetParallelism(goroutines / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkGetToken(b *testing.B) {
	b.Run("of=tokenpatch", func(b *testing.B) { run(b, getToken(b)) })
	b.Run("of=net-http", func(b *testing.B) { run(b, plainGetToken(b)) })
}

func BenchmarkUpdateToken(b *testing.B) {
	b.Run("of=tokenpatch", func(b *testing.B) { run(b, updateToken(b)) })
	b.Run("of=net-http", func(b *testing.B) { run(b, plainUpdateToken(b)) })
}
