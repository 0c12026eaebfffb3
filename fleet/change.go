package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

// Change is what a run does to one token. Exactly one of Want, Patch and Update
// is not nil.
//
// As JSON it is an object, in which api is v1 or v2, and comment, for the audit log
// of V2, may be left out:
//
//	{"api":"v2","id":"...","want":{"role":"reader"},"comment":"..."}
//	{"api":"v2","id":"...","patch":[{"op":"replace","path":"/name","value":"ci"}]}
//	{"api":"v1","id":"...","update":{"name":"ci"}}
type Change struct {
	ID     string                  // of the token; V1 has UUIDs
	Want   *Want                   // how the settings of a token of V2 shall be
	Patch  *tokenpatch.Patch       // what is done to a token of V2
	Update *tokenpatch.TokenUpdate // what is done to a token of V1
}

// api is the token's API.
type api string

const (
	v1 api = "v1"
	v2 api = "v2"
)

func (c Change) api() api {
	if c.Update != nil {
		return v1
	}
	return v2
}

// wireChange is a Change as JSON.
type wireChange struct {
	API     api                     `json:"api"`
	ID      string                  `json:"id"`
	Want    *Want                   `json:"want,omitempty"`
	Patch   json.RawMessage         `json:"patch,omitempty"`
	Update  *tokenpatch.TokenUpdate `json:"update,omitempty"`
	Comment string                  `json:"comment,omitempty"`
}

// MarshalJSON returns c as JSON, its id in canonical form. What [Store.Add] would
// refuse is an error.
func (c Change) MarshalJSON() ([]byte, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	return c.encode()
}

// encode is MarshalJSON for a checked change.
func (c Change) encode() (data []byte, err error) {
	wire := wireChange{API: c.api(), ID: c.ID, Want: c.Want, Update: c.Update}
	switch {
	case c.Want != nil:
		wire.Comment = c.Want.Comment
	case c.Patch != nil:
		if wire.Patch, wire.Comment, err = splitComment(c.Patch); err != nil {
			return nil, err
		}
	}
	return json.Marshal(wire)
}

// splitComment returns the operations of a patch, and its comment.
func splitComment(patch *tokenpatch.Patch) (operations json.RawMessage, comment string, err error) {
	encoded, err := patch.MarshalJSON()
	if err != nil || encoded[0] == '[' {
		return encoded, "", err
	}
	var commented struct {
		Comment string
		Patch   json.RawMessage
	}
	err = json.Unmarshal(encoded, &commented)
	return commented.Patch, commented.Comment, err
}

// UnmarshalJSON reads a change. An unknown member is an error, and so is what
// [Store.Add] would refuse.
func (c *Change) UnmarshalJSON(data []byte) error {
	var wire wireChange
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&wire); err != nil {
		return err
	}
	read := Change{ID: wire.ID, Want: wire.Want, Update: wire.Update}
	if wire.Patch != nil {
		read.Patch = new(tokenpatch.Patch)
		if err := read.Patch.UnmarshalJSON(wire.Patch); err != nil {
			return err
		}
	}
	switch {
	case wire.API != read.api():
		return &tokenpatch.InputError{Field: "api", Value: strconv.Quote(string(wire.API)), Want: "v2 with a want or a patch, v1 with an update"}
	case wire.Comment == "":
	case read.Want != nil:
		read.Want.Comment = wire.Comment
	case read.Patch != nil:
		read.Patch.Comment(wire.Comment)
	default:
		return &tokenpatch.InputError{Field: "comment", Value: strconv.Quote(wire.Comment), Want: "none: V1 takes no comment"}
	}
	checked, err := read.checked()
	if err != nil {
		return err
	}
	*c = checked
	return nil
}

// checked returns c with its id in canonical form, or what is wrong with it.
func (c Change) checked() (Change, error) {
	kinds := 0
	for _, given := range []bool{c.Want != nil, c.Patch != nil, c.Update != nil} {
		if given {
			kinds++
		}
	}
	if kinds != 1 {
		return c, &tokenpatch.InputError{Field: "Change", Value: fmt.Sprintf("%d of them", kinds), Want: "exactly one of Want, Patch and Update"}
	}
	switch {
	case c.Update != nil:
		if err := checkID(c.ID); err != nil {
			return c, err
		}
		id, err := uuid.Parse(c.ID)
		if err != nil || id == uuid.Nil {
			return c, &tokenpatch.InputError{Field: "Change.ID", Value: strconv.Quote(shorten.Text(c.ID, 64)), Want: "a UUID other than the nil UUID"}
		}
		c.ID = id.String()
		return c, checkUpdate(*c.Update)
	case c.Want != nil:
		return c, errors.Join(checkID(c.ID), c.Want.check())
	default:
		_, err := c.Patch.MarshalJSON()
		return c, errors.Join(checkID(c.ID), err)
	}
}

// checkID refuses what the client would refuse, before it is stored. A credential is
// not shown.
func checkID(id string) error {
	err := tokenpatch.CheckTokenID(id)
	if input, ok := errors.AsType[*tokenpatch.InputError](err); ok {
		input.Field = "Change.ID"
	}
	return err
}

func checkUpdate(update tokenpatch.TokenUpdate) error {
	if update == (tokenpatch.TokenUpdate{}) {
		return &tokenpatch.InputError{Field: "Change.Update", Value: "empty", Want: "at least one field that is set or null"}
	}
	role, set := update.OrganizationRole.Get()
	switch role {
	case tokenpatch.OrganizationRoleAdmin, tokenpatch.OrganizationRoleMember, tokenpatch.OrganizationRoleExternal:
		return nil
	}
	if set {
		return &tokenpatch.InputError{Field: "Change.Update.OrganizationRole", Value: strconv.Quote(string(role)), Want: "ADMIN, MEMBER or EXTERNAL"}
	}
	return nil
}
