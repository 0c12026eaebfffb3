package fleet

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/internal/shorten"
	"github.com/tokenpatch/tokenpatch/internal/suggest"
)

// roleLists are the lists of custom roles of a Want, by the names of their fields.
func (w *Want) roleLists() map[string][]string {
	return map[string][]string{"CustomRoleIDs": w.CustomRoleIDs.Or(nil), "AddCustomRoleIDs": w.AddCustomRoleIDs, "RemoveCustomRoleIDs": w.RemoveCustomRoleIDs}
}

// checkRoles refuses a custom role named twice.
func (w *Want) checkRoles() error {
	lists := w.roleLists()
	for _, field := range slices.Sorted(maps.Keys(lists)) {
		sorted := slices.Sorted(slices.Values(lists[field]))
		switch {
		case slices.Contains(sorted, ""):
			return wrongWant("."+field, `""`, "the id or the key of a custom role")
		case len(slices.Compact(sorted)) < len(lists[field]):
			return wrongWant("."+field, quoted(lists[field]), "each custom role once")
		}
	}
	for _, role := range w.AddCustomRoleIDs {
		if slices.Contains(w.RemoveCustomRoleIDs, role) {
			return wrongWant(".RemoveCustomRoleIDs", strconv.Quote(shorten.Text(role, 64)), "no custom role that is to be added as well")
		}
	}
	return nil
}

func quoted(texts []string) string { return shorten.Text(fmt.Sprintf("%q", texts), 200) }

// isRoleID matches the ids of custom roles.
var isRoleID = regexp.MustCompile(`^[0-9a-f]{24}$`)

const maxRoles = 10_000 // custom roles read of an account

// book resolves the custom roles in Wants, keys or ids. It lists the roles of the account once, at
// the first unknown entry.
type book struct {
	client *tokenpatch.Client
	keep   func(context.Context, []tokenpatch.CustomRole) ([]tokenpatch.CustomRole, error) // stores what was listed, and returns what counts; nil stores nothing

	mu      sync.Mutex
	byID    map[string]tokenpatch.CustomRole // in lower case
	byKey   map[string]tokenpatch.CustomRole
	listed  bool
	refused bool              // the credential may not list them
	failed  error             // of listing them
	hints   map[string]string // by the unknown entry
}

func newBook(client *tokenpatch.Client, known ...tokenpatch.CustomRole) *book {
	b := &book{client: client, byID: map[string]tokenpatch.CustomRole{}, byKey: map[string]tokenpatch.CustomRole{}, hints: map[string]string{}}
	b.know(known)
	return b
}

// know adds roles. What is known already keeps its meaning.
func (b *book) know(roles []tokenpatch.CustomRole) {
	for _, r := range roles {
		id := strings.ToLower(r.ID)
		if b.byID[id].ID == "" && b.byKey[r.Key].ID == "" {
			b.byID[id], b.byKey[r.Key] = r, r
		}
	}
}

// want returns a Want with the ids of its custom roles.
func (b *book) want(ctx context.Context, w *Want) (*Want, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	resolved, err := b.resolve(w)
	if err == nil || b.listed {
		return resolved, err
	}
	if err := b.look(ctx); err != nil {
		return nil, err
	}
	return b.resolve(w)
}

// look lists the roles, unless that has failed. The caller holds the lock.
func (b *book) look(ctx context.Context) error {
	if b.failed != nil {
		return b.failed
	}
	err := b.list(ctx)
	if ctx.Err() == nil {
		b.failed = err
	}
	return err
}

// list reads the custom roles of the account.
func (b *book) list(ctx context.Context) (err error) {
	var listed []tokenpatch.CustomRole
	for role, err := range b.client.V2.CustomRoles(ctx) {
		switch {
		case errors.As(err, new(*tokenpatch.ForbiddenError)), errors.As(err, new(*tokenpatch.NotFoundError)):
			b.listed, b.refused = true, true
			return nil
		case err != nil:
			return fmt.Errorf("reading the custom roles of the account: %w", err)
		case len(listed) == maxRoles:
			return fmt.Errorf("the account has more than %d custom roles: want only ids in changes", maxRoles)
		}
		listed = append(listed, tokenpatch.CustomRole{ID: storable(role.ID, 256), Key: storable(role.Key, 256), Name: storable(role.Name, 256)})
	}
	if b.keep != nil {
		if listed, err = b.keep(ctx, listed); err != nil {
			return err
		}
	}
	b.know(listed)
	b.listed = true
	return nil
}

// resolve is want with known roles. Its error names all unknown entries.
func (b *book) resolve(w *Want) (*Want, error) {
	ids, lists := map[string][]string{}, w.roleLists()
	var mistakes []error
	for _, field := range slices.Sorted(maps.Keys(lists)) {
		for _, entry := range lists[field] {
			id, want := b.id(entry, field == "RemoveCustomRoleIDs")
			if want != "" {
				mistakes = append(mistakes, wrongWant("."+field, strconv.Quote(shorten.Text(entry, 64)), want))
			}
			ids[field] = append(ids[field], id)
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	resolved := *w
	if w.CustomRoleIDs.IsSet() {
		resolved.CustomRoleIDs = tokenpatch.Set(ids["CustomRoleIDs"])
	}
	resolved.AddCustomRoleIDs, resolved.RemoveCustomRoleIDs = ids["AddCustomRoleIDs"], ids["RemoveCustomRoleIDs"]
	return &resolved, resolved.checkRoles()
}

// id returns the id of the custom role for an entry of a Want, or a description of valid entries.
// An unknown id may be removed.
func (b *book) id(entry string, removed bool) (id, want string) {
	lower := strings.ToLower(entry)
	byID, isID := b.byID[lower]
	byKey, isKey := b.byKey[entry]
	switch {
	case isID && isKey && byID.ID != byKey.ID:
		return "", fmt.Sprintf("one role: this is the id of custom role %q and the key of custom role %s", byID.Key, byKey.ID)
	case isID:
		return byID.ID, ""
	case isKey:
		return byKey.ID, ""
	case isRoleID.MatchString(lower) && (b.refused || b.listed && removed):
		return lower, ""
	case b.refused:
		return "", "the id of a custom role: the credential may not list the custom roles of the account, so keys cannot be looked up"
	case !b.listed:
		return "", "a custom role that is known"
	}
	return "", "the key or the id of a custom role of the account" + b.hint(entry)
}

// hint names the key that was probably meant. Many changes can share it.
func (b *book) hint(entry string) string {
	hint, found := b.hints[entry]
	if !found {
		if nearest := suggest.Nearest(entry, slices.Sorted(maps.Keys(b.byKey))); nearest != "" {
			hint = "; did you mean " + nearest + "?"
		}
		b.hints[entry] = hint
	}
	return hint
}

// keys are the keys of the known custom roles of some tokens, by id.
func (b *book) keys(ctx context.Context, tokens ...*tokenpatch.Token) map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := map[string]string{}
	for _, token := range tokens {
		for _, id := range token.CustomRoleIDs.Or(nil) {
			role, known := b.byID[strings.ToLower(id)]
			if !known && !b.listed && b.look(ctx) == nil { // else a plan is as good without keys
				role, known = b.byID[strings.ToLower(id)]
			}
			if known {
				keys[id] = role.Key
			}
		}
	}
	return keys
}

// notThere are the removed custom roles of a Want that neither the token nor, as far as is known,
// the account has.
func (b *book) notThere(w *Want, token *tokenpatch.Token) (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range w.RemoveCustomRoleIDs {
		if _, known := b.byID[strings.ToLower(id)]; !known && !slices.Contains(token.CustomRoleIDs.Or(nil), id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Roles returns the custom roles of the account as a run looked them up for its changes. It returns
// nothing before the lookup, or if the changes name no roles.
func (s *Store) Roles(ctx context.Context, run string) ([]tokenpatch.CustomRole, error) {
	r, err := s.find(ctx, run)
	if err != nil {
		return nil, failed("roles of run", run, err)
	}
	roles, err := s.roles(ctx, s.reads, r.id)
	return roles, failed("roles of run", run, err)
}

func (s *Store) roles(ctx context.Context, db queryer, run int64) (roles []tokenpatch.CustomRole, err error) {
	err = s.query(ctx, db, func(rows *sql.Rows) (bool, error) {
		var r tokenpatch.CustomRole
		err := rows.Scan(&r.ID, &r.Key, &r.Name)
		roles = append(roles, r)
		return true, err
	}, "SELECT id, key, name FROM fleet_role WHERE run = $1 ORDER BY key", run)
	return roles, err
}

// book is the book of a run, with its stored roles.
func (s *Store) book(ctx context.Context, client *tokenpatch.Client, run int64) (*book, error) {
	stored, err := s.roles(ctx, s.reads, run)
	return newBook(client, stored...), err
}

// keepRoles stores those roles whose id and key the run does not have. What it has
// stays as it is: a key keeps its meaning although roles are renamed.
func (s *Store) keepRoles(ctx context.Context, run int64, listed []tokenpatch.CustomRole) (roles []tokenpatch.CustomRole, err error) {
	err = s.tx(ctx, "roles", func(ctx context.Context, tx *sql.Tx) error {
		for _, r := range listed {
			if _, err := tx.ExecContext(ctx, s.sql("INSERT INTO fleet_role (run, id, key, name) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"), run, r.ID, r.Key, r.Name); err != nil {
				return err
			}
		}
		roles, err = s.roles(ctx, tx, run)
		return err
	})
	return roles, err
}

// RolesError is the error for custom roles in a run's changes that cannot be resolved. Nothing was
// sent.
type RolesError struct {
	Run      string
	Mistakes []error // each once, of 100 at most
	Changes  int     // with such roles
	Token    string  // the id of the first
}

func (e *RolesError) Error() string {
	return fmt.Sprintf("fleet: run %q: %d changes, the first of token %s, name custom roles that cannot be resolved, and nothing was sent:\n%v",
		e.Run, e.Changes, e.Token, errors.Join(e.Mistakes...))
}

func (e *RolesError) Unwrap() []error { return e.Mistakes }

// resolveRoles resolves the custom roles of all changes before anything is sent.
func (r *runner) resolveRoles(ctx context.Context) (err error) {
	if r.book, err = r.store.book(ctx, r.client, r.run.id); err != nil {
		return err
	}
	r.book.keep = func(ctx context.Context, listed []tokenpatch.CustomRole) ([]tokenpatch.CustomRole, error) {
		return r.store.keepRoles(ctx, r.run.id, listed)
	}
	found := &RolesError{Run: r.run.name}
	for last, more := int64(0), true; more; {
		var wants []Change
		if wants, last, more, err = r.store.namingRoles(ctx, r.run.id, last); err != nil {
			return err
		}
		for _, change := range wants {
			_, err := r.book.want(ctx, change.Want)
			if err != nil && !errors.As(err, new(*tokenpatch.InputError)) {
				return err
			}
			found.add(change.ID, err)
		}
	}
	if found.Changes > 0 {
		return found
	}
	return nil
}

func (e *RolesError) add(token string, err error) {
	if err == nil {
		return
	}
	if e.Changes++; e.Changes == 1 {
		e.Token = token
	}
	each := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		each = joined.Unwrap()
	}
	for _, one := range each {
		known := slices.ContainsFunc(e.Mistakes, func(m error) bool { return m.Error() == one.Error() })
		if !known && len(e.Mistakes) < 100 {
			e.Mistakes = append(e.Mistakes, one)
		}
	}
}

// namingRoles returns the next pending Wants with custom roles.
func (s *Store) namingRoles(ctx context.Context, run, after int64) (wants []Change, last int64, more bool, err error) {
	size := 0
	err = s.query(ctx, s.reads, func(rows *sql.Rows) (bool, error) {
		var body []byte
		var change Change
		if err := rows.Scan(&last, &body); err != nil {
			return false, err
		}
		if err := json.Unmarshal(body, &change); err != nil {
			return false, err
		}
		if change.Want != nil {
			wants = append(wants, change)
		}
		size += len(body)
		more = size >= pageBytes
		return !more, nil
	}, `SELECT seq, body FROM fleet_change WHERE run = $1 AND outcome = 'pending' AND api = 'v2' AND seq > $2 AND body LIKE '%ustomRoleIds"%' ORDER BY seq`, run, after)
	return wants, last, more, err
}
