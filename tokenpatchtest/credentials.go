package tokenpatchtest

import (
	"cmp"
	"net/http"
	"slices"
)

// The credentials of a new [Service]. Each is a random string without a word of any other text, so
// a test can search a log for it.
const (
	APIKey      = "QL48xdvMzSbi3bzzQEp3XUP4fWaidITRxmLqoThx" // of V1: "Authorization: Bearer " before it
	AccessToken = "fbfYVu9D4ErLYr2wM14ss5IzaWY7m7MhvgkxUYPR" // of V2: bare in the Authorization header
)

// Whose [AccessToken] is: an administrator, who may see every token. Another
// member's personal token is listed only if showAll asks for it.
const (
	AccountID    = "569f183514f4432160000001"
	MemberID     = "569f183514f4432160000007"
	CredentialID = "569f183514f4432160000009" // the id of the token
)

// Credential is an access token of V2, and the identity behind it.
type Credential struct {
	AccessToken string // its value
	TokenID     string // the id of the token whose value it is; empty is [CredentialID]
	AccountID   string // empty is [AccountID]
	OAuth       bool   // it is an OAuth token, sent with "Bearer " before it
	NoRoles     bool   // it may not read custom roles: 403
}

// SetCredentials replaces the accepted credentials, from the next request on: an API key of V1, an
// access token of V2. An empty one accepts nobody.
func (s *Service) SetCredentials(apiKey, accessToken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.apiKey, s.credentials = apiKey, nil
	if accessToken != "" {
		s.credentials = []Credential{{AccessToken: accessToken}}
	}
}

// AddCredential lets V2 accept one more access token, from the next request on,
// or replaces what is known of one with the same value.
func (s *Service) AddCredential(credential Credential) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.credentials = slices.DeleteFunc(s.credentials, func(c Credential) bool { return c.AccessToken == credential.AccessToken })
	s.credentials = append(s.credentials, credential)
}

// authorized reports whether the request has a credential of its API. It keeps the credential of V2
// in the call.
func (s *Service) authorized(c *call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := c.request.Header.Values("Authorization")
	if len(sent) != 1 {
		return false
	}
	if c.api == V1 {
		return s.apiKey != "" && sent[0] == "Bearer "+s.apiKey
	}
	for _, known := range s.credentials {
		if sent[0] == known.header() {
			c.credential = known
			return true
		}
	}
	return false
}

func (c Credential) header() string {
	if c.OAuth {
		return "Bearer " + c.AccessToken
	}
	return c.AccessToken
}

func unauthorized(api API) response {
	if api == V2 {
		return refusal(V2, http.StatusUnauthorized, "invalid access token")
	}
	r := refusal(V1, http.StatusUnauthorized, "Not authenticated")
	r.header.Set("WWW-Authenticate", "Bearer")
	return r
}

// identify is GET /api/v2/caller-identity. The kinds are not documented.
func (s *Service) identify(c *call) response {
	if _, err := readQuery(c); err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	id := cmp.Or(c.credential.TokenID, CredentialID)
	identity := map[string]any{
		"accountId":    cmp.Or(c.credential.AccountID, AccountID),
		"authKind":     "token",
		"tokenKind":    "auth",
		"tokenId":      id,
		"tokenName":    "tokenpatchtest",
		"memberId":     MemberID,
		"serviceToken": false,
	}
	if c.credential.OAuth {
		identity["authKind"], identity["scopes"] = "oauth", []string{"writer"}
	}
	document, found := s.document(V2, id)
	if !found {
		return respond(http.StatusOK, identity)
	}
	value, err := decode(document)
	if err != nil {
		return refusal(V2, http.StatusInternalServerError, err.Error())
	}
	token := value.(map[string]any) // as the schema has it
	identity["memberId"] = token["memberId"]
	identity["serviceToken"] = token["serviceToken"] == true
	if identity["tokenName"] = token["name"]; token["name"] == nil {
		delete(identity, "tokenName")
	}
	return respond(http.StatusOK, identity)
}
