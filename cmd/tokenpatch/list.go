package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/tokenpatch/tokenpatch"
)

// list writes the tokens of V2, without their values.
func list(ctx context.Context, a *app) error {
	if err := a.checkOutput(); err != nil {
		return err
	}
	config := a.config()
	if err := credentials(config, "", "it lists tokens of V2"); err != nil {
		return err
	}
	seen := newTraffic()
	config.Hooks = seen.hooks()
	client, err := a.client(config)
	if err != nil {
		return err
	}
	chosen, err := a.filter(ctx, client)
	if err != nil {
		return err
	}
	var done atomic.Int64
	end := a.showReading(seen, &done, 0)
	defer end()
	return a.output(func(w io.Writer) error {
		write, flush := listWriter(a.format, w)
		for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{ShowAll: a.all}) {
			if err != nil {
				return err
			}
			done.Add(1)
			if !chosen(token) {
				continue
			}
			shown := *token
			shown.Token = tokenpatch.Field[tokenpatch.Secret]{}
			if err := write(shown); err != nil {
				return err
			}
		}
		return flush()
	})
}

// filter selects tokens by all given flags.
func (a *app) filter(ctx context.Context, client *tokenpatch.Client) (func(*tokenpatch.Token) bool, error) {
	customRole, err := a.customRole(ctx, client)
	if err != nil {
		return nil, err
	}
	if _, err := path.Match(a.name, ""); err != nil {
		return nil, usageError{fmt.Sprintf("-name %q: want a text, or a pattern such as ci-*", a.name)}
	}
	now := time.Now()
	return func(t *tokenpatch.Token) bool {
		used, isUsed := t.LastUsed.Get()
		last := max(used, t.CreationDate)
		switch {
		case a.role != "" && string(t.Role.Or("")) != a.role,
			customRole != "" && !slices.Contains(t.CustomRoleIDs.Or(nil), customRole),
			a.name != "" && !matches(a.name, t.Name.Or("")),
			a.owner != "" && !isOwner(a.owner, t),
			a.unused > 0 && now.Sub(last.Time()) < a.unused,
			a.neverUsed && isUsed,
			a.apiVersion != 0 && t.DefaultAPIVersion.Or(0) != a.apiVersion,
			a.service && !t.ServiceToken.Or(false),
			a.personal && t.ServiceToken.Or(false):
			return false
		}
		return true
	}, nil
}

// customRole is the id of the role of -custom-role, an id or a key.
func (a *app) customRole(ctx context.Context, client *tokenpatch.Client) (string, error) {
	if a.custom == "" {
		return "", nil
	}
	for role, err := range client.V2.CustomRoles(ctx) {
		if err != nil {
			return "", fmt.Errorf("-custom-role: %w", err)
		}
		if role.ID == a.custom || role.Key == a.custom {
			return role.ID, nil
		}
	}
	return "", fmt.Errorf("-custom-role %q: the account has no such custom role", a.custom)
}

// matches reports whether a name contains a text or, with a wildcard, is like it. Capitals do not
// matter.
func matches(pattern, name string) bool {
	pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	if !strings.ContainsAny(pattern, "*?[") {
		return strings.Contains(name, pattern)
	}
	like, _ := path.Match(pattern, strings.ReplaceAll(name, "/", "_")) // the pattern was checked
	return like
}

// isOwner reports whether a token was created by a member with this id, e-mail address or name.
func isOwner(owner string, t *tokenpatch.Token) bool {
	member := t.Member.Or(tokenpatch.MemberSummary{})
	return t.MemberID == owner || strings.EqualFold(member.Email, owner) || strings.EqualFold(memberName(member), owner)
}

func memberName(m tokenpatch.MemberSummary) string {
	return strings.TrimSpace(m.FirstName.Or("") + " " + m.LastName.Or(""))
}

// ownerOf is who created a token, for people.
func ownerOf(t tokenpatch.Token) string {
	member := t.Member.Or(tokenpatch.MemberSummary{})
	return cmp.Or(member.Email, memberName(member), t.MemberID)
}

// listWriter writes tokens as JSON Lines, as a table for people, or as CSV for plan.
func listWriter(format string, w io.Writer) (write func(tokenpatch.Token) error, flush func() error) {
	switch format {
	case "json":
		return func(t tokenpatch.Token) error { return writeJSON(w, t) }, func() error { return nil }
	case "csv":
		table := csv.NewWriter(w)
		_ = table.Write([]string{"id", "name", "description", "role", "customRoleIds", "inlineRole", "defaultApiVersion", "owner", "service", "created", "lastModified", "lastUsed"}) // Error has it
		return func(t tokenpatch.Token) error { return table.Write(tokenCells(t)) }, func() error { table.Flush(); return table.Error() }
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tNAME\tACCESS\tKIND\tOWNER\tLAST USED")
	return func(t tokenpatch.Token) error {
		kind := "personal"
		if t.ServiceToken.Or(false) {
			kind = "service"
		}
		_, err := fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(t.ID), fit(printable(t.Name.Or("")), 40), printable(accessOf(t)), kind,
			fit(printable(ownerOf(t)), 30), cmp.Or(lastUsed(t), "never"))
		return err
	}, table.Flush
}

// accessOf is what a token may do, in short.
func accessOf(t tokenpatch.Token) string {
	var access []string
	if role := t.Role.Or(""); role != "" {
		access = append(access, string(role))
	}
	if n := len(t.CustomRoleIDs.Or(nil)); n > 0 {
		access = append(access, count(n, "custom role"))
	}
	if len(t.InlineRole.Or(nil)) > 0 {
		access = append(access, "policy")
	}
	return strings.Join(access, ", ")
}

func lastUsed(t tokenpatch.Token) string {
	if used, isUsed := t.LastUsed.Get(); isUsed {
		return day(used)
	}
	return ""
}

// day is a time as a date; empty for zero.
func day(t tokenpatch.UnixMillis) string {
	if t == 0 {
		return ""
	}
	return t.Time().Format(time.DateOnly)
}

// tokenCells are a token as a row of FILE without changes.
func tokenCells(t tokenpatch.Token) []string {
	var version, policy string
	if v, set := t.DefaultAPIVersion.Get(); set {
		version = strconv.Itoa(v)
	}
	if statements, set := t.InlineRole.Get(); set {
		encoded, _ := encodeJSON(statements) // of a decoded token
		policy = strings.TrimSpace(string(encoded))
	}
	return safeCells(
		t.ID, t.Name.Or(""), t.Description.Or(""), string(t.Role.Or("")), strings.Join(t.CustomRoleIDs.Or(nil), ";"), policy, version,
		ownerOf(t), strconv.FormatBool(t.ServiceToken.Or(false)), day(t.CreationDate), day(t.LastModified), lastUsed(t),
	)
}
