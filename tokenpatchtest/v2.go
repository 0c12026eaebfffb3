package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// apiVersions are what LD-API-Version may say, the current one first.
var apiVersions = []string{"20240415", "20220603", "20210729", "20191212", "beta"}

var errNoVersion = errors.New("LD-API-Version must name an API version, such as 20240415")

// version returns the API version of a request, or "" if it has none. The first header counts: the
// provider's own client adds one to that of its program.
func version(r *http.Request) string {
	v := r.Header.Get("LD-API-Version")
	if !slices.Contains(apiVersions, v) {
		return ""
	}
	return v
}

// AddV2 adds a token of V2: a JSON document of the schema Token with its _id, and any other
// members. Missing required ones are filled in. The service keeps only the last four characters of
// token. It replaces a token with the same _id, like a change by another program: its history
// stays. The error names the deviation from the schema, or the token of V1 with this id.
func (s *Service) AddV2(document string) error {
	value, err := decodeStrictly([]byte(document))
	if err != nil {
		return fmt.Errorf("tokenpatchtest: token: %w", err)
	}
	members, isObject := value.(map[string]any)
	if !isObject {
		return errors.New("tokenpatchtest: token: want an object")
	}
	id, _ := members["_id"].(string)
	if id == "" {
		return errors.New("tokenpatchtest: token: _id: want a string that is not empty")
	}
	created := members["creationDate"]
	if created == nil {
		created = s.now().UnixMilli()
	}
	text := fill(bytes.TrimSpace([]byte(document)), members, []required{
		{"_links", struct{}{}}, {"ownerId", MemberID}, {"memberId", MemberID},
		{"creationDate", created}, {"lastModified", created},
	})
	if value, err = decode(text); err == nil {
		err = isToken(value)
	}
	if err == nil {
		text, err = cutValue(text, members)
	}
	if err != nil {
		return fmt.Errorf("tokenpatchtest: token: %w", err)
	}
	private := members["serviceToken"] != true && members["memberId"] != nil && members["memberId"] != MemberID
	return s.put(V2, id, text, private)
}

// cutValue cuts a token's value to its last four characters.
func cutValue(text json.RawMessage, members map[string]any) (json.RawMessage, error) {
	s, _ := members["token"].(string)
	value := []rune(s)
	if len(value) <= 4 {
		return text, nil
	}
	return setMember(text, "token", string(value[len(value)-4:]))
}

// required is a required member of a schema, and its value if it is missing.
type required struct {
	name  string
	value any
}

// fill appends what members lack to the text of an object, which stays as it is.
func fill(text json.RawMessage, members map[string]any, all []required) json.RawMessage {
	for _, one := range all {
		if _, found := members[one.name]; !found {
			text = fmt.Appendf(text[:len(text)-1:len(text)-1], ",%q:%s}", one.name, encode(one.value))
		}
	}
	return text
}

// V2 returns the current token of V2 with this _id, and whether there is one. Unchanged members are
// as they were added, digit for digit.
func (s *Service) V2(id string) (json.RawMessage, bool) { return s.document(V2, id) }

func (s *Service) updateV2(c *call) response {
	if version(c.request) == "" {
		return refusal(V2, http.StatusBadRequest, errNoVersion.Error())
	}
	if !isJSON(c.request) {
		return refusal(V2, http.StatusUnsupportedMediaType, "the content type must be application/json")
	}
	patch, err := decodePatch(c.body)
	if err != nil {
		return refusal(V2, http.StatusBadRequest, err.Error())
	}
	now := s.now()
	after, err := s.change(c, c.id, func(before json.RawMessage) (json.RawMessage, error) {
		return s.patch(before, patch, now)
	})
	switch {
	case errors.Is(err, errNoToken):
		return refusal(V2, http.StatusNotFound, err.Error())
	case errors.As(err, new(refusedRole)):
		return refusal(V2, http.StatusBadRequest, err.Error())
	case err != nil:
		return refusal(V2, http.StatusUnprocessableEntity, err.Error())
	}
	return respond(http.StatusOK, after)
}

// maxToken is the longest token after a patch, in bytes: copies double what they copy.
const maxToken = 4 << 20

// patch applies a patch as the API does: only to editable members, and only if the result is a
// token. The caller holds the lock.
func (s *Service) patch(before json.RawMessage, patch []operation, now time.Time) (json.RawMessage, error) {
	after := before
	for i, op := range patch {
		err := s.options.editable(op)
		if err == nil {
			after, err = s.options.lenient(op).apply(after)
		}
		if err == nil && len(after) > maxToken {
			err = errors.New("the token is too large")
		}
		if err != nil {
			return nil, fmt.Errorf("operation %d: %s %q: %w", i, op.kind, op.path.String(), err)
		}
	}
	if err := s.options.check(before, after); err != nil {
		return nil, err
	}
	after, err := s.resolveRoles(before, after)
	if err == nil {
		after, err = s.options.normalize(after)
	}
	if err != nil {
		return nil, err
	}
	return touch(after, now)
}

// check returns how a patched token deviates from the schema, or what the patch has written without
// the API knowing it.
func (o Options) check(before, after json.RawMessage) error {
	was, err := decode(before)
	if err != nil {
		return err
	}
	is, err := decode(after)
	if err == nil {
		err = isToken(is)
	}
	if err != nil {
		return err
	}
	role, set := is.(map[string]any)["role"].(string)
	written := set && role != was.(map[string]any)["role"]
	if written && !slices.Contains(baseRoles, role) && !slices.Contains(o.Roles, role) {
		return fmt.Errorf("role: %q is no base role", role)
	}
	return nil
}

// settable are the writable members of the schema.
var settable = []string{"customRoleIds", "defaultApiVersion", "description", "inlineRole", "name", "role"}

// settable reports whether clients write the member with this name.
func (o Options) settable(name string) bool {
	return slices.Contains(settable, name) || slices.Contains(o.Members, name)
}

// editable returns why an operation is not for clients to do, or nil.
func (o Options) editable(op operation) error {
	if o.RefuseLastModifiedTest && op.kind == "test" && len(op.path) > 0 && op.path[0] == "lastModified" {
		return errors.New("lastModified cannot be tested")
	}
	for _, target := range op.writes() {
		if len(target) == 0 {
			return errors.New("a token cannot be written as a whole")
		}
		if !o.settable(target[0]) {
			return fmt.Errorf("%q is not a member that can be written", target[0])
		}
	}
	return nil
}

// lenient is the one way in which the API is more lenient than RFC 6902: it replaces a missing
// member of the token. Adding a member of an object does the same.
func (o Options) lenient(op operation) operation {
	if op.kind == "replace" && len(op.path) == 1 && o.settable(op.path[0]) {
		op.kind = "add"
	}
	return op
}

// touch sets lastModified to now, or to a millisecond more than before if now is not later.
func touch(token json.RawMessage, now time.Time) (json.RawMessage, error) {
	var t struct {
		LastModified int64 `json:"lastModified"`
	}
	if err := json.Unmarshal(token, &t); err != nil {
		return nil, err
	}
	modified := max(now.UnixMilli(), t.LastModified+1)
	return setMember(token, "lastModified", modified)
}

// setMember returns an object with a member set to a value.
func setMember(object json.RawMessage, name string, value any) (json.RawMessage, error) {
	return operation{kind: "add", value: encode(value)}.write(object, pointer{name})
}
