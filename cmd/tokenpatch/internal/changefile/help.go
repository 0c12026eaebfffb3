package changefile

import (
	"fmt"
	"strings"
)

// Help describes the columns of FILE, as a table for people.
func Help() string {
	var b strings.Builder
	row := func(name, api, help string) { fmt.Fprintf(&b, "  %-21s%-4s%s\n", name, api, help) }
	row("column", "", "value")
	row("id", "", "the token's id")
	row("api", "", "v1 or v2; an empty cell is decided by the id")
	row("comment", "", "V2: for the audit log; V1: kept in the report, not sent")
	for _, name := range []string{"name", "description", "role", "customRoleIds", "addCustomRoleIds", "removeCustomRoleIds", "inlineRole", "defaultApiVersion", "set"} {
		api := "V2"
		if _, both := updates[name]; both {
			api = ""
		}
		row(name, api, wants[name].help)
	}
	for _, name := range []string{"organization_role", "personal", "role_id"} {
		row(name, "V1", updates[name].help)
	}
	return b.String() + `
An empty cell leaves a setting as it is, and null removes it. Columns may be
separated by commas, semicolons or tabs. What a spreadsheet saves is read: blank
rows, blanks around cells, capitals in headers, UTF-16.
Columns that "tokenpatch list -format csv" adds for people are ignored.
`
}
