package tokenpatchotel

import (
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// origin is the server's side of a request.
type origin struct {
	address string
	port    int
}

// origins caches parsed origins: a client has one for each API.
type origins struct {
	known sync.Map // "https://host:port" to origin
}

// of is the origin of a request's URL.
func (o *origins) of(address string) origin {
	scheme, rest, _ := strings.Cut(address, "://")
	host, _, _ := strings.Cut(rest, "/")
	key := address[:len(address)-len(rest)+len(host)]
	if known, ok := o.known.Load(key); ok {
		return known.(origin)
	}
	parsed, err := url.Parse(key)
	if err != nil {
		return origin{}
	}
	found := origin{address: parsed.Hostname(), port: 443}
	if scheme == "http" {
		found.port = 80
	}
	if port, err := strconv.Atoi(parsed.Port()); err == nil {
		found.port = port
	}
	o.known.Store(key, found)
	return found
}
