package fleet

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"time"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/rivermigrate"
)

//go:embed schema.sql
var schemaV1 string

// schemas are the steps from an empty database to today's tables. What has been
// released is never changed: a change is a step of its own.
var schemas = []string{schemaV1}

// migrate brings the tables up to date. Of two processes that do so at once, one
// fails, and then finds that the other one has done it.
func (s *Store) migrate(ctx context.Context) error {
	var err error
	for range 5 {
		if err = s.migrateRiver(ctx); err == nil {
			err = s.migrateFleet(ctx)
		}
		if err == nil {
			return nil
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
	_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	return err
}

func (s *Store) migrateFleet(ctx context.Context) error {
	return s.tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS fleet_schema (version BIGINT PRIMARY KEY)")
		if err != nil {
			return err
		}
		var version int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM fleet_schema").Scan(&version); err != nil {
			return err
		}
		if version > len(schemas) {
			return fmt.Errorf("the tables are of version %d, and this program knows %d: want a newer program", version, len(schemas))
		}
		for ; version < len(schemas); version++ {
			if err := s.step(ctx, tx, version); err != nil {
				return fmt.Errorf("tables of version %d: %w", version+1, err)
			}
		}
		return nil
	})
}

// step makes the tables of one version.
func (s *Store) step(ctx context.Context, tx *sql.Tx, version int) error {
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
