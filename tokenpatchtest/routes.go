package tokenpatchtest

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// resource is a path of an API, and its methods.
type resource struct {
	api      API
	template string
	methods  map[string]func(*Service, *call) response
}

var (
	tokenOfV1 = &resource{V1, "/api/v1/token/{api_token_id}", map[string]func(*Service, *call) response{
		http.MethodPatch: (*Service).updateV1,
	}}
	tokenOfV2 = &resource{V2, "/api/v2/tokens/{id}", map[string]func(*Service, *call) response{
		http.MethodGet:   (*Service).readV2,
		http.MethodPatch: (*Service).updateV2,
	}}
	tokensOfV2 = &resource{V2, "/api/v2/tokens", map[string]func(*Service, *call) response{
		http.MethodGet: (*Service).listV2,
	}}
	rolesOfV2 = &resource{V2, "/api/v2/roles", map[string]func(*Service, *call) response{
		http.MethodGet: (*Service).listRoles,
	}}
	roleOfV2 = &resource{V2, "/api/v2/roles/{customRoleKey}", map[string]func(*Service, *call) response{
		http.MethodGet: (*Service).readRole,
	}}
	callerOfV2 = &resource{V2, "/api/v2/caller-identity", map[string]func(*Service, *call) response{
		http.MethodGet: (*Service).identify,
	}}
	resources = []*resource{tokenOfV1, tokenOfV2, tokensOfV2, rolesOfV2, roleOfV2, callerOfV2}
)

// find returns the API and the resource of an escaped path, and the id in it, decoded. The resource
// is nil if there is none.
func find(path string) (api API, r *resource, id string) {
	switch {
	case strings.HasPrefix(path, "/api/v1/"):
		api = V1
	case strings.HasPrefix(path, "/api/v2/"):
		api = V2
	}
	for _, r := range resources {
		folder, _, hasID := strings.Cut(r.template, "{")
		escaped, within := strings.CutPrefix(path, folder)
		if !within || hasID == (escaped == "") || strings.Contains(escaped, "/") {
			continue
		}
		if id, err := url.PathUnescape(escaped); err == nil {
			return api, r, id
		}
	}
	return api, nil, ""
}

// methodNotAllowed is the response to an unknown method.
func (r *resource) methodNotAllowed() response {
	allowed := strings.Join(slices.Sorted(maps.Keys(r.methods)), ", ")
	refused := refusal(r.api, http.StatusMethodNotAllowed, "the method must be "+allowed)
	refused.header.Set("Allow", allowed)
	return refused
}
