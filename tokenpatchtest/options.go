package tokenpatchtest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Options decide what the documents of V2 leave open. The zero value is the default of a new
// service.
type Options struct {
	// Members are further writable members of a token, such as "expiry", besides the settings of
	// the schema. [Service.AddV2] accepts tokens with any members.
	Members []string
	// Roles are further valid base roles, besides reader, writer, admin and owner.
	Roles []string

	// RefuseLastModifiedTest refuses patches with a test of /lastModified with 422. Each applied
	// patch still raises lastModified.
	RefuseLastModifiedTest bool
	// ReplicaLag is how old a read can be. Each read returns what was there some
	// time ago, from zero to ReplicaLag, drawn as [Service.SetSeed] describes: a
	// read may be older than the one before. A token is there from the moment at
	// which it is added. Writes, [Service.V2] and [Service.History] do not lag.
	ReplicaLag time.Duration
	// Normalize stores a patched token in an equivalent form. The name loses surrounding space, and
	// the ids of custom roles are in descending order, whether or not the patch writes them.
	Normalize bool

	RoleKeys RoleKeys // what adding a custom role by its key does; zero is [RefuseRoleKeys]
	Paging   Paging   // of the lists of tokens and of custom roles
}

// SetOptions replaces the options, from the next request on.
func (s *Service) SetOptions(options Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options = options
}

// baseRoles are the base roles of V2.
var baseRoles = []string{"reader", "writer", "admin", "owner"}

// normalize returns a patched token as it is stored.
func (o Options) normalize(token json.RawMessage) (json.RawMessage, error) {
	if !o.Normalize {
		return token, nil
	}
	value, err := decode(token)
	if err != nil {
		return nil, err
	}
	name, _ := value.(map[string]any)["name"].(string)
	if name != strings.TrimSpace(name) {
		if token, err = setMember(token, "name", strings.TrimSpace(name)); err != nil {
			return nil, err
		}
	}
	roles := stringsAt(token, "customRoleIds")
	if roles == nil {
		return token, nil
	}
	slices.Sort(roles)
	slices.Reverse(roles)
	return setMember(token, "customRoleIds", roles)
}
