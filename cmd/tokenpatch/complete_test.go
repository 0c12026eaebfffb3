package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// completed asks a real shell for the next words. The last word is being typed.
func (s *shell) completed(shell string, words ...string) []string {
	s.t.Helper()
	words = append([]string{"tokenpatch"}, words...)
	quoted := "'" + strings.Join(words, "' '") + "'"
	scripts := map[string]string{
		"bash": fmt.Sprintf(`source <(tokenpatch completion bash); COMP_WORDS=(%s); COMP_CWORD=%d; _tokenpatch; printf '%%s\n' "${COMPREPLY[@]}"`, quoted, len(words)-1),
		"fish": `tokenpatch completion fish | source; complete -C "` + strings.Join(words, " ") + `"`,
	}
	path, err := exec.LookPath(shell)
	if err != nil {
		s.t.Skipf("SKIPPED: there is no %s", shell)
	}
	cmd := exec.Command(path, "-c", scripts[shell])
	cmd.Dir, cmd.Env = s.dir, append(s.env, "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	return strings.Fields(string(out))
}

func TestCompletion(t *testing.T) {
	onlyText(t)
	t.Parallel()
	for _, shell := range []string{"bash", "fish"} {
		t.Run(shell, func(t *testing.T) {
			s := newShell(t)
			s.many(1)
			s.run(0, "apply", "many.jsonl")
			assert.Equal(t, []string{"report", "retry"}, sorted(s.completed(shell, "re")))
			assert.Equal(t, []string{"-timeout"}, s.completed(shell, "plan", "-ti"))
			assert.Equal(t, []string{"csv", "html", "json", "text"}, sorted(s.completed(shell, "report", "-format", "")))
			assert.Equal(t, []string{"many"}, s.completed(shell, "report", "-run", "ma"), "the run")
			assert.Contains(t, s.completed(shell, ""), "completion")
			s.file("changes.csv", "")
			if shell == "fish" { // bash adds names of files by itself
				assert.Equal(t, []string{"changes.csv"}, s.completed(shell, "plan", "cha"))
			}
		})
	}
	s := newShell(t)
	assert.Contains(t, s.run(2, "completion").stderr, "want one of bash, zsh, fish")
	assert.Contains(t, s.run(2, "completion", "fisch").stderr, "did you mean fish?")
	assert.Empty(t, s.run(0, "__complete", "nonsense", "x").stdout)
	assert.Empty(t, s.run(0, "__complete", "plan", "x").stdout, "the shell completes names of files")
}
