package tokenpatchtest

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Options decide what the documents of V2 leave open. The zero value is that of a
// new service.
type Options struct {
	// Members are further members of a token that a patch may write, such as
	// "expiry". Without them it may write those settings that the schema names.
	// [Service.AddV2] takes tokens with any members.
	Members []string
	// Roles are further base roles that a patch may set, besides reader, writer,
	// admin and owner.
	Roles []string

	// RefuseLastModifiedTest refuses a patch that tests /lastModified with 422.
	// Each patch that is applied raises lastModified all the same.
	RefuseLastModifiedTest bool
	// ReplicaLag is how old a read can be. Each read returns what was there some
	// time ago, from zero to ReplicaLag, drawn as [Service.SetSeed] describes: a
	// read may be older than the one before. A token is there from the moment at
	// which it is added. Writes, [Service.V2] and [Service.History] do not lag.
	ReplicaLag time.Duration
	// Normalize stores something equivalent to what a patch makes of a token: the
	// name without the space around it, and the ids of custom roles in descending
	// order, whether or not the patch writes them.
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

// normalize returns the token that is stored for one that a patch made.
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
