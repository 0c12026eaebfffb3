package fleet

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
)

var (
	//go:embed schema.sql
	schemaV1 string
	//go:embed schema2.sql
	schemaV2 string
	//go:embed schema3.sql
	schemaV3 string
)

// schemas are the steps from an empty database to today's tables. What has been
// released is never changed: a change is a step of its own.
var schemas = []string{schemaV1, schemaV2, schemaV3}

// migrate brings the tables up to date. If two processes do so at once, one fails, and then finds
// them up to date.
func (s *Store) migrate(ctx context.Context) error {
	var err error
	for range 5 {
		if err = s.migrateFleet(ctx); err == nil {
			err = s.migrateRiver(ctx)
		}
		if err == nil || errors.As(err, new(*versionError)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(100+mathrand.IntN(400)) * time.Millisecond):
		}
	}
	return err
}

func (s *Store) migrateRiver(ctx context.Context) error {
	migrator, err := rivermigrate.New(s.driver, &rivermigrate.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (s *Store) migrateFleet(ctx context.Context) error {
	return s.tx(ctx, "migrate", func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS fleet_schema (version BIGINT PRIMARY KEY)")
		if err != nil {
			return err
		}
		version, err := s.version(ctx, tx)
		if err != nil {
			return err
		}
		for ; version < len(schemas); version++ {
			if err := s.step(ctx, tx, version); err != nil {
				return fmt.Errorf("tables of version %d: %w", version+1, err)
			}
		}
		return nil
	})
}

// versionError is an error about tables of another version.
type versionError struct{ text string }

func (e *versionError) Error() string { return e.text }

// version is the version of the tables, at most this program's.
func (s *Store) version(ctx context.Context, db queryer) (int, error) {
	versions, err := column[int](ctx, s, db, "SELECT coalesce(max(version), 0) FROM fleet_schema")
	if err != nil {
		return 0, err
	}
	if versions[0] > len(schemas) {
		return 0, &versionError{fmt.Sprintf("the tables are of version %d, and this program knows %d: want a newer program", versions[0], len(schemas))}
	}
	return versions[0], nil
}

// checkVersion returns an error if the tables are not those of this program.
func (s *Store) checkVersion(ctx context.Context) error {
	version, err := s.version(ctx, s.reads)
	switch {
	case err != nil:
		return fmt.Errorf("want a database with runs: %w", err)
	case version < len(schemas):
		return &versionError{fmt.Sprintf("the tables are of version %d, and this program reads version %d: want a program of that age, or a run with this one first", version, len(schemas))}
	}
	return nil
}

// step makes the tables of one version. Rows of before version 2 do not hold what
// is needed to resume an open change.
func (s *Store) step(ctx context.Context, tx *sql.Tx, version int) error {
	if version == 1 {
		open, err := column[int](ctx, s, tx, "SELECT count(*) FROM fleet_change WHERE outcome = 'pending'")
		if err != nil {
			return err
		}
		if open[0] > 0 {
			return &versionError{fmt.Sprintf("%d changes are pending in tables of an older format: finish them with the program that made them, or want another database", open[0])}
		}
	}
	id, bytes := "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "BYTEA"
	if s.driver.DatabaseName() == riverdriver.DatabaseNameSQLite {
		id, bytes = "INTEGER PRIMARY KEY AUTOINCREMENT", "BLOB"
	}
	statements := strings.NewReplacer("{id}", id, "{bytes}", bytes).Replace(schemas[version])
	if _, err := tx.ExecContext(ctx, statements); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, s.sql("INSERT INTO fleet_schema (version) VALUES ($1)"), version+1)
	return err
}
