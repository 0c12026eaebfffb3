package tokenpatchtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// container is an object or an array, one level deep: its members keep their
// order, and the text of their values.
type container struct {
	names  []string // nil if it is an array
	values []json.RawMessage
	array  bool
}

func newContainer(text json.RawMessage) (*container, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	start, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	if start != json.Delim('{') && start != json.Delim('[') {
		return nil, fmt.Errorf("%s has no members", text)
	}
	c := &container{array: start == json.Delim('[')}
	for decoder.More() {
		if !c.array {
			name, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			c.names = append(c.names, name.(string)) // the decoder refuses any other
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		c.values = append(c.values, value)
	}
	return c, nil
}

// find returns the index of the value named by a reference token.
func (c *container) find(token string) (int, error) {
	i := slices.Index(c.names, token)
	if c.array {
		var isIndex bool
		if i, isIndex = index(token); !isIndex || i >= len(c.values) {
			i = -1
		}
	}
	if i < 0 {
		return i, fmt.Errorf("no value at %q", token)
	}
	return i, nil
}

// add sets a member of an object, or inserts into an array.
func (c *container) add(token string, value json.RawMessage) error {
	if !c.array {
		if i := slices.Index(c.names, token); i >= 0 {
			c.values[i] = value
			return nil
		}
		c.names, c.values = append(c.names, token), append(c.values, value)
		return nil
	}
	if token == "-" {
		token = strconv.Itoa(len(c.values))
	}
	i, isIndex := index(token)
	if !isIndex || i > len(c.values) {
		return fmt.Errorf("%q is no index of an array of %d", token, len(c.values))
	}
	c.values = slices.Insert(c.values, i, value)
	return nil
}

func (c *container) remove(i int) {
	c.values = slices.Delete(c.values, i, i+1)
	if !c.array {
		c.names = slices.Delete(c.names, i, i+1)
	}
}

// text returns the JSON of the container.
func (c *container) text() json.RawMessage {
	open, end := byte('{'), byte('}')
	if c.array {
		open, end = '[', ']'
	}
	text := []byte{open}
	for i, value := range c.values {
		if i > 0 {
			text = append(text, ',')
		}
		if !c.array {
			text = append(append(text, encode(c.names[i])...), ':')
		}
		text = append(text, value...)
	}
	return append(text, end)
}
