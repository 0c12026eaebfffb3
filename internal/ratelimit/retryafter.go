package ratelimit

import (
	"net/http"
	"time"
)

// RetryAfterOf returns how long the header of a response asks to wait (RFC 9110, section 10.2.3); 0 if it does not.
func RetryAfterOf(header http.Header) time.Duration { return parseResponse(0, header).retryAfter }
