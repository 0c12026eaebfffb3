package shorten_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenpatch/tokenpatch/internal/shorten"
)

func TestText(t *testing.T) {
	assert.Equal(t, "token", shorten.Text("token", 5))
	assert.Equal(t, "toke…", shorten.Text("token", 4))
	assert.Equal(t, "é…", shorten.Text("éé", 3), "no rune is cut in two")
	assert.Equal(t, "…", shorten.Text("é", 1))
	assert.Equal(t, "\x80\x80\x80\x80\x80…", shorten.Text(strings.Repeat("\x80", 10), 8), "what is not UTF-8 is cut anywhere")
}
