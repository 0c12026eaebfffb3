package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// RoleKeys is how V2 handles a patch with a custom role's key: customRoleIds has ids, and no
// document mentions keys.
type RoleKeys int

// How a key is handled.
const (
	RefuseRoleKeys    RoleKeys = iota // 400
	TranslateRoleKeys                 // the role's id is stored
	StoreRoleKeys                     // the key is stored as it is
)

// role is a custom role.
type role struct {
	id, key  string
	document json.RawMessage
}

// isRole is the schema CustomRole of V2.
var isRole = isObject(
	[]string{"_id", "_links", "key", "name", "policy"},
	map[string]schema{
		"_id":              isString,
		"_links":           isLinks,
		"description":      isString,
		"key":              isString,
		"name":             isString,
		"policy":           isArray(isStatement),
		"basePermissions":  isString,
		"resourceCategory": isString,
	})

// AddRole adds a custom role of V2: a JSON document of the schema CustomRole with its _id and key.
// Missing required members are filled in; the name is then the key. One with the same _id is
// replaced. [Service.Remove] removes it.
//
// Once there is a role, a patch with ids of other roles is refused with 400. [Options.RoleKeys]
// decides about keys.
func (s *Service) AddRole(document string) error {
	value, err := decodeStrictly([]byte(document))
	if err != nil {
		return fmt.Errorf("tokenpatchtest: role: %w", err)
	}
	members, isObject := value.(map[string]any)
	if !isObject {
		return errors.New("tokenpatchtest: role: want an object")
	}
	id, _ := members["_id"].(string)
	key, _ := members["key"].(string)
	if id == "" || key == "" {
		return errors.New("tokenpatchtest: role: _id, key: want strings that are not empty")
	}
	text := fill(bytes.TrimSpace([]byte(document)), members, []required{
		{"_links", struct{}{}}, {"name", key}, {"policy", []any{}},
	})
	if value, err = decode(text); err == nil {
		err = isRole(value)
	}
	if err != nil {
		return fmt.Errorf("tokenpatchtest: role: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	added := role{id: id, key: key, document: text}
	if i := slices.IndexFunc(s.roles, byID(id)); i >= 0 {
		s.roles[i] = added
		return nil
	}
	s.roles = append(s.roles, added)
	return nil
}

// listRoles is GET /api/v2/roles.
func (s *Service) listRoles(c *call) response {
	query, err := readQuery(c, "limit", "offset")
	p := page{limit: 20}
	if err == nil {
		err = p.read(query)
	}
	if err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	if c.credential.NoRoles {
		return noRoles()
	}
	s.mu.Lock()
	list := make([]item, len(s.roles))
	for i, r := range s.roles {
		list[i].document = r.document
	}
	s.mu.Unlock()
	return s.respondPage(c, p, list)
}

// readRole is GET /api/v2/roles/{customRoleKey}, which takes an id too.
func (s *Service) readRole(c *call) response {
	if _, err := readQuery(c); err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	if c.credential.NoRoles {
		return noRoles()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, found := s.role(byKey(c.id)); found {
		return respond(http.StatusOK, r.document)
	}
	if r, found := s.role(byID(c.id)); found {
		return respond(http.StatusOK, r.document)
	}
	return refusal(V2, http.StatusNotFound, "no custom role with this key or id")
}

func noRoles() response {
	return refusal(V2, http.StatusForbidden, "this access token may not read custom roles")
}

func byKey(key string) func(role) bool { return func(r role) bool { return r.key == key } }
func byID(id string) func(role) bool   { return func(r role) bool { return r.id == id } }

// role returns the first matching role. The caller holds the lock.
func (s *Service) role(is func(role) bool) (role, bool) {
	if i := slices.IndexFunc(s.roles, is); i >= 0 {
		return s.roles[i], true
	}
	return role{}, false
}

// refusedRole is a custom role not allowed in a patch.
type refusedRole string

func (r refusedRole) Error() string {
	return fmt.Sprintf("customRoleIds: no custom role has the id %q", string(r))
}

// resolveRoles returns a patched token with the added custom roles as they are stored. The caller
// holds the lock.
func (s *Service) resolveRoles(before, after json.RawMessage) (json.RawMessage, error) {
	is, changed := stringsAt(after, "customRoleIds"), false
	was := stringsAt(before, "customRoleIds")
	for i, entry := range is {
		if _, isID := s.role(byID(entry)); len(s.roles) == 0 || isID || slices.Contains(was, entry) {
			continue
		}
		r, isKey := s.role(byKey(entry))
		if !isKey || s.options.RoleKeys == RefuseRoleKeys {
			return nil, refusedRole(entry)
		}
		if s.options.RoleKeys == TranslateRoleKeys {
			is[i], changed = r.id, true
		}
	}
	if !changed {
		return after, nil
	}
	return setMember(after, "customRoleIds", is)
}

// stringsAt returns a member of an object, a list of strings, or nil.
func stringsAt(object json.RawMessage, name string) (list []string) {
	text, err := pointer{name}.find(object)
	if err != nil || json.Unmarshal(text, &list) != nil {
		return nil
	}
	return list
}
