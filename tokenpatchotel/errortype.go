package tokenpatchotel

import (
	"context"
	"errors"
	"reflect"
	"strings"

	"github.com/tokenpatch/tokenpatch"
)

// ours is the package path of tokenpatch's errors.
var ours = reflect.TypeFor[tokenpatch.APIError]().PkgPath()

// errorTypeOf is the error.type of an error, one of few. It is the name of the first error of
// tokenpatch in its chain, such as "NotFoundError"; else "timeout"; else the type of the last error
// in the chain. It is empty for nil, and if the caller canceled, which is no error by the
// conventions.
func errorTypeOf(err error) string {
	if err == nil || errors.Is(err, context.Canceled) {
		return ""
	}
	last := err
	for e := err; e != nil; e = errors.Unwrap(e) {
		if t := reflect.TypeOf(e); t.Kind() == reflect.Pointer && t.Elem().PkgPath() == ours && strings.HasSuffix(t.Elem().Name(), "Error") {
			return t.Elem().Name()
		}
		last = e
	}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return reflect.TypeOf(last).String() // unlike semconv.ErrorType, ignores an ErrorType method, which could return anything
}
