package rawjson

import "fmt"

// Property is a member of a JSON object with a field in the struct T.
type Property[T any] struct {
	name   string
	read   func(r *Reader, object *T) error
	null   func(object *T)
	append func(b []byte, object *T) []byte // nothing if the member is absent
}

// Of returns the property with a name, its field, and the field's codec.
func Of[T, V any](name string, field func(object *T) *V, codec Codec[V]) Property[T] {
	start := string(append(AppendString([]byte(","), name), ':'))
	return Property[T]{
		name: name,
		read: func(r *Reader, object *T) error { return codec.Read(r, field(object)) },
		null: func(object *T) {
			if codec.Null != nil {
				codec.Null(field(object))
			} else {
				*field(object) = *new(V)
			}
		},
		append: func(b []byte, object *T) []byte {
			v := field(object)
			if codec.Absent != nil && codec.Absent(v) {
				return b
			}
			return codec.Append(append(b, start...), v)
		},
	}
}

// Member is a member of an object for which there is no property.
type Member struct {
	Name  string
	Value string // JSON, as it was received
}

// Object is the codec of a struct. It writes the properties in their order, and after them the
// members of unknown. If several members have one name, the last one counts.
func Object[T any](unknown func(object *T) *[]Member, properties ...Property[T]) Codec[T] {
	o := object[T]{unknown, properties}
	return Codec[T]{Read: o.read, Append: o.append}
}

type object[T any] struct {
	unknown    func(v *T) *[]Member
	properties []Property[T]
}

func (o object[T]) read(r *Reader, v *T) error {
	if r.Kind() != '{' {
		return r.WrongKind("an object")
	}
	others := o.unknown(v)
	r.open('{')
	for first := true; r.more('}', first); first = false {
		name := r.name()
		i := find(o.properties, name)
		switch {
		case i < 0:
			*others = append(*others, Member{name, r.Value()})
		case r.Kind() == 'n':
			r.Value()
			o.properties[i].null(v)
		default:
			if err := o.properties[i].read(r, v); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	*others = withoutDuplicates(*others)
	return nil
}

func (o object[T]) append(b []byte, v *T) []byte {
	start := len(b)
	for i := range o.properties {
		b = o.properties[i].append(b, v)
	}
	for _, m := range *o.unknown(v) {
		b = append(append(AppendString(append(b, ','), m.Name), ':'), m.Value...)
	}
	if len(b) == start {
		return append(b, "{}"...)
	}
	b[start] = '{' // in place of the first comma
	return append(b, '}')
}

// Has reports whether one of the properties has a name.
func Has[T any](properties []Property[T], name string) bool { return find(properties, name) >= 0 }

func find[T any](properties []Property[T], name string) int {
	for i := range properties {
		if properties[i].name == name {
			return i
		}
	}
	return -1
}

// withoutDuplicates leaves the last of several members with one name, in the place of
// the first.
func withoutDuplicates(members []Member) []Member {
	if len(members) < 2 {
		return members
	}
	positions := make(map[string]int, len(members))
	kept := members[:0]
	for _, m := range members {
		if i, twice := positions[m.Name]; twice {
			kept[i] = m
			continue
		}
		positions[m.Name] = len(kept)
		kept = append(kept, m)
	}
	return kept
}
