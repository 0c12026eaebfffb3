package suggest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

func TestNearest(t *testing.T) {
	known := []string{"plan", "apply", "report", "customRoleIds"}
	for word, want := range map[string]string{
		"aply": "apply", "paply": "apply", "reprot": "report", "Report": "report", "plan": "plan", "custom_role_ids": "customRoleIds",
		"customroleid": "customRoleIds", "": "", "x": "", "delete": "", strings.Repeat("plan", 1000): "",
	} {
		assert.Equal(t, want, suggest.Nearest(word, known), word)
	}
	assert.Equal(t, "; did you mean apply?", suggest.Hint("aply", known))
	assert.Equal(t, ": want one of plan, apply, report, customRoleIds", suggest.Hint("zzz", known))
}
