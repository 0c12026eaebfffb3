package tokenpatchtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// schema returns how a decoded value deviates from the schema, if it does.
type schema func(value any) error

// isToken is the schema Token of V2.
var isToken = isObject(
	[]string{"_id", "ownerId", "memberId", "creationDate", "lastModified", "_links"},
	map[string]schema{
		"_id":               isString,
		"ownerId":           isString,
		"memberId":          isString,
		"_member":           isMember,
		"name":              isString,
		"description":       isString,
		"creationDate":      isInteger,
		"lastModified":      isInteger,
		"customRoleIds":     isArray(isString),
		"inlineRole":        isArray(isStatement),
		"role":              isString,
		"token":             isString,
		"serviceToken":      isBool,
		"_links":            isLinks,
		"defaultApiVersion": isInteger,
		"lastUsed":          isInteger,
	})

var isMember = isObject(
	[]string{"_links", "_id", "role", "email"},
	map[string]schema{
		"_links":    isLinks,
		"_id":       isString,
		"firstName": isString,
		"lastName":  isString,
		"role":      isString,
		"email":     isString,
	})

// isLinks accepts null links, and null instead of all of them: a service may write that, and no
// client writes links.
var isLinks = orNull(isMap(orNull(isObject(nil, map[string]schema{"href": isString, "type": isString}))))

var isStatementObject = isObject(
	[]string{"effect"},
	map[string]schema{
		"resources":    isArray(isString),
		"notResources": isArray(isString),
		"actions":      isArray(isString),
		"notActions":   isArray(isString),
		"effect":       isOneOf("allow", "deny"),
	})

// isStatement is the schema Statement, with the rules in its descriptions: a negated list requires
// its opposite, and the other negated list, to be empty.
func isStatement(value any) error {
	if err := isStatementObject(value); err != nil {
		return err
	}
	has := func(name string) bool {
		list, _ := value.(map[string]any)[name].([]any)
		return len(list) > 0
	}
	switch {
	case has("notResources") && (has("resources") || has("notActions")):
		return errors.New("notResources: resources and notActions must be empty")
	case has("notActions") && (has("actions") || has("notResources")):
		return errors.New("notActions: actions and notResources must be empty")
	}
	return nil
}

func orNull(is schema) schema {
	return func(value any) error {
		if value == nil {
			return nil
		}
		return is(value)
	}
}

func isString(value any) error {
	if _, ok := value.(string); !ok {
		return errors.New("want a string")
	}
	return nil
}

func isBool(value any) error {
	if _, ok := value.(bool); !ok {
		return errors.New("want a boolean")
	}
	return nil
}

func isInteger(value any) error {
	n, _ := value.(json.Number)
	if _, err := strconv.ParseInt(n.String(), 10, 64); err != nil {
		return errors.New("want an integer")
	}
	return nil
}

func isOneOf(allowed ...string) schema {
	return func(value any) error {
		if s, ok := value.(string); !ok || !slices.Contains(allowed, s) {
			return fmt.Errorf("want one of %q", allowed)
		}
		return nil
	}
}

func isArray(item schema) schema {
	return func(value any) error {
		list, ok := value.([]any)
		if !ok {
			return errors.New("want an array")
		}
		for i, v := range list {
			if err := item(v); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		return nil
	}
}

func isMap(item schema) schema {
	return func(value any) error {
		members, ok := value.(map[string]any)
		if !ok {
			return errors.New("want an object")
		}
		for _, name := range slices.Sorted(maps.Keys(members)) {
			if err := item(members[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
}

// isObject accepts unknown members, as the API's documents do.
func isObject(required []string, known map[string]schema) schema {
	names := slices.Sorted(maps.Keys(known)) // always the same error
	return func(value any) error {
		members, ok := value.(map[string]any)
		if !ok {
			return errors.New("want an object")
		}
		for _, name := range required {
			if _, found := members[name]; !found {
				return fmt.Errorf("%s: is missing", name)
			}
		}
		for _, name := range names {
			member, found := members[name]
			if !found {
				continue
			}
			if err := known[name](member); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}
}
