package rawjson

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Codec reads and writes the values of a Go type.
type Codec[T any] struct {
	Read   func(r *Reader, v *T) error
	Append func(b []byte, v *T) []byte

	// For the members of an object:
	Null   func(v *T)      // sets v if the member is null; nil means to the zero value
	Absent func(v *T) bool // reports whether a member with the value v is left out; nil means never
}

// Decode returns the value in data.
func (c Codec[T]) Decode(data []byte) (*T, error) {
	r, v := NewReader(data), new(T)
	if err := r.Finish(c.Read(r, v)); err != nil {
		return nil, err
	}
	return v, nil
}

// String is the codec of a string type.
func String[T ~string]() Codec[T] {
	return Codec[T]{
		Read: func(r *Reader, v *T) error {
			text, err := r.Text()
			*v = T(text)
			return err
		},
		Append: func(b []byte, v *T) []byte { return AppendString(b, string(*v)) },
	}
}

// Integer is the codec of an integer type.
func Integer[T ~int | ~int64]() Codec[T] {
	return Codec[T]{
		Read: func(r *Reader, v *T) error {
			if c := r.Kind(); c != '-' && (c < '0' || c > '9') {
				return r.WrongKind("an integer")
			}
			n, err := strconv.ParseInt(r.Value(), 10, 64)
			if *v = T(n); err != nil || int64(*v) != n {
				return errors.New("want an integer within range, without fraction or exponent")
			}
			return nil
		},
		Append: func(b []byte, v *T) []byte { return strconv.AppendInt(b, int64(*v), 10) },
	}
}

// Boolean is the codec of bool.
func Boolean() Codec[bool] {
	return Codec[bool]{
		Read: func(r *Reader, v *bool) error {
			if r.Kind() != 't' && r.Kind() != 'f' {
				return r.WrongKind("a boolean")
			}
			*v = r.Value() == "true"
			return nil
		},
		Append: func(b []byte, v *bool) []byte { return strconv.AppendBool(b, *v) },
	}
}

// List is the codec of an array. A member with a nil slice is omitted; elsewhere a nil slice is
// written as [].
func List[T any](element Codec[T]) Codec[[]T] {
	return Codec[[]T]{
		Read: func(r *Reader, v *[]T) error {
			if r.Kind() != '[' {
				return r.WrongKind("an array")
			}
			*v = []T{}
			r.open('[')
			for i := 0; r.more(']', i == 0); i++ {
				if i == 0 {
					*v = make([]T, 0, 2) // most lists are short
				}
				*v = append(*v, *new(T))
				if err := element.Read(r, &(*v)[i]); err != nil {
					return fmt.Errorf("%d: %w", i, err)
				}
			}
			return nil
		},
		Append: func(b []byte, v *[]T) []byte {
			b = append(b, '[')
			for i := range *v {
				b = element.Append(separated(b, i), &(*v)[i])
			}
			return append(b, ']')
		},
		Absent: func(v *[]T) bool { return *v == nil },
	}
}

// Map is the codec of an object with any names. It reads null as the zero value of T, and writes a
// nil map as {}.
func Map[T any](value Codec[T]) Codec[map[string]T] {
	return Codec[map[string]T]{
		Read: func(r *Reader, v *map[string]T) error {
			if r.Kind() != '{' {
				return r.WrongKind("an object")
			}
			*v = map[string]T{}
			one := new(T)
			r.open('{')
			for first := true; r.more('}', first); first = false {
				name := r.name()
				*one = *new(T)
				if r.Kind() == 'n' {
					r.Value()
				} else if err := value.Read(r, one); err != nil {
					return fmt.Errorf("%.64q: %w", name, err)
				}
				(*v)[name] = *one
			}
			return nil
		},
		Append: func(b []byte, v *map[string]T) []byte {
			names := make([]string, 0, len(*v))
			for name := range *v {
				names = append(names, name)
			}
			slices.Sort(names)
			b = append(b, '{')
			one := new(T)
			for i, name := range names {
				*one = (*v)[name]
				b = value.Append(append(AppendString(separated(b, i), name), ':'), one)
			}
			return append(b, '}')
		},
	}
}

// separated appends the comma in front of every element but the first.
func separated(b []byte, i int) []byte {
	if i == 0 {
		return b
	}
	return append(b, ',')
}
