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

// version returns the API version that a request names, or nothing where it
// names none. The first header counts: the provider's own client adds one to that
// of a program which sets it.
func version(r *http.Request) string {
	v := r.Header.Get("LD-API-Version")
	if !slices.Contains(apiVersions, v) {
		return ""
	}
	return v
}

// AddV2 adds a token of V2: a JSON document of the schema Token with its _id,
// and any other members. Those that the schema requires and that are missing are
// filled in. Of token the service keeps the last four characters, since it hands
// out no more. One with the same _id is replaced, as if another program had changed
// it: its history stays. The error says how the document differs from the schema,
// or that a token of V1 has the id.
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
	text := fill(bytes.TrimSpace([]byte(document)), members, s.now())
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
	return s.put(id, token{api: V2, document: text, private: private})
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

// fill appends what the schema requires and members lack to the text of an
// object, which stays as it is.
func fill(text json.RawMessage, members map[string]any, now time.Time) json.RawMessage {
	created := members["creationDate"]
	if created == nil {
		created = now.UnixMilli()
	}
	for _, required := range []struct {
		name  string
		value any
	}{
		{"_links", struct{}{}},
		{"ownerId", MemberID},
		{"memberId", MemberID},
		{"creationDate", created},
		{"lastModified", created},
	} {
		if _, found := members[required.name]; !found {
			text = fmt.Appendf(text[:len(text)-1:len(text)-1], ",%q:%s}", required.name, encode(required.value))
		}
	}
	return text
}

// V2 returns the token of V2 with this _id as it is now, and whether there is
// one. A member that no request has changed is as it was added, digit for digit.
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
		return patchToken(before, patch, now)
	})
	switch {
	case errors.Is(err, errNoToken):
		return refusal(V2, http.StatusNotFound, err.Error())
	case err != nil:
		return refusal(V2, http.StatusUnprocessableEntity, err.Error())
	}
	return respond(http.StatusOK, after)
}

// maxToken is the longest token that a patch may make, in bytes: copies double
// what they copy.
const maxToken = 4 << 20

// patchToken applies a patch as the API does: only to members that may be
// edited, and only if a token comes of it.
func patchToken(token json.RawMessage, patch []operation, now time.Time) (json.RawMessage, error) {
	for i, op := range patch {
		err := editable(op)
		if err == nil {
			token, err = lenient(op).apply(token)
		}
		if err == nil && len(token) > maxToken {
			err = errors.New("the token is too large")
		}
		if err != nil {
			return nil, fmt.Errorf("operation %d: %s %q: %w", i, op.kind, op.path.String(), err)
		}
	}
	value, err := decode(token)
	if err == nil {
		err = isToken(value)
	}
	if err != nil {
		return nil, err
	}
	return touch(token, now)
}

// owned are the members that only the service writes, besides those whose name
// begins with an underscore.
var owned = []string{"creationDate", "lastModified", "lastUsed", "memberId", "ownerId", "serviceToken", "token"}

// editable says why an operation is not for clients to do, if it is not.
func editable(op operation) error {
	for _, target := range op.writes() {
		if len(target) == 0 {
			return errors.New("a token cannot be written as a whole")
		}
		if name := target[0]; name != "" && name[0] == '_' || slices.Contains(owned, name) {
			return fmt.Errorf("%q is not editable", name)
		}
	}
	return nil
}

// settable are the members that a token may lack, and that can be replaced all
// the same.
var settable = []string{"customRoleIds", "defaultApiVersion", "description", "inlineRole", "name", "role"}

// lenient is the one way in which the API is more lenient than RFC 6902: to add
// a member of an object is to replace it, if it is there.
func lenient(op operation) operation {
	if op.kind == "replace" && len(op.path) == 1 && slices.Contains(settable, op.path[0]) {
		op.kind = "add"
	}
	return op
}

// touch sets lastModified to now, or to a millisecond more than it was where
// now is not later.
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
