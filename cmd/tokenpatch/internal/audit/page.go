package audit

import (
	_ "embed"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/page"
)

var (
	//go:embed page.html
	document string
	//go:embed page.css
	style string
	//go:embed page.js
	script string

	top, bottom = parse(document)
)

// parse makes templates of what is above and below the findings, which are written one at a time.
func parse(document string) (top, bottom *template.Template) {
	above, below, _ := strings.Cut(document, "<!-- findings -->\n")
	return template.Must(template.New("top").Parse(above)), template.Must(template.New("bottom").Parse(below))
}

// WritePage writes the report as one self-contained HTML document.
func (r *Report) WritePage(w io.Writer) error {
	err := top.Execute(w, struct {
		Header
		Date, Policy    string
		New, Same, Gone int
		Groups          []Group
		Style           template.CSS
	}{
		r.Header(), r.At.UTC().Format(time.RFC3339), page.Policy(script, style, false),
		r.CountState(StateNew), r.CountState(StateSame), r.CountState(StateGone), r.Groups(), template.CSS(style), //nolint:gosec // a file of this package
	})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, `<script type="application/json" id="data">[`); err != nil {
		return err
	}
	if err := writeElements(w, r.All(), func(f *Finding) any { return f }); err != nil {
		return err
	}
	if _, err := io.WriteString(w, "]</script>\n"); err != nil {
		return err
	}
	return bottom.Execute(w, template.JS(script)) //nolint:gosec // a file of this package
}
