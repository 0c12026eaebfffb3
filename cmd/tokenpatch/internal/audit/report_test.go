package audit_test

import (
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

// largest is the size of the largest write.
type largest int

func (l *largest) Write(p []byte) (int, error) {
	*l = max(*l, largest(len(p)))
	return len(p), nil
}

// A report with many findings is written one finding at a time: no format collects them.
func TestReportIsWrittenInSmallParts(t *testing.T) {
	auditor := audit.New(facts(t, ""))
	for i := range 1000 {
		auditor.Add(decode(t, with(fmt.Sprint(i), map[string]any{"name": fmt.Sprint("token ", i), "role": "admin", "description": nil, "lastUsed": millis(100)})))
	}
	report := auditor.Report()
	for name, write := range map[string]func(io.Writer) error{
		"html": report.WritePage, "sarif": func(w io.Writer) error { return report.WriteSARIF(w, "v1.2.3") },
	} {
		var most largest
		require.NoError(t, write(&most))
		assert.Less(t, most, largest(16<<10), name)
	}
}
