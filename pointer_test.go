package tokenpatch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch"
)

func TestPointer(t *testing.T) {
	p := tokenpatch.PathCustomRoleIDs.Append("a/b", "~", "")
	assert.Equal(t, tokenpatch.Pointer("/customRoleIds/a~1b/~0/"), p)
	assert.Equal(t, p, tokenpatch.NewPointer("customRoleIds", "a/b", "~", ""))
	tokens, err := p.Tokens()
	require.NoError(t, err)
	assert.Equal(t, []string{"customRoleIds", "a/b", "~", ""}, tokens)
	_, err = tokenpatch.Pointer("name").Tokens()
	require.ErrorContains(t, err, "starting with a slash")
}
