// Package postgrestest gives tests a real Postgres: a schema of their own on the server of
// DATABASE_URL, on one at the usual address, or on a new one from the machine's own binaries.
package postgrestest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const usual = "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable"

// URL returns a URL of an unused schema, and drops it after the test. Without any Postgres the test
// is skipped, or fails if REQUIRE_SERVICES is set.
func URL(t testing.TB) string {
	t.Helper()
	server, err := shared()
	if err != nil {
		unavailable(t, err)
	}
	return Schema(t, server)
}

// Schema makes a schema on the server at this URL, and returns a URL for it.
func Schema(t testing.TB, server string) string {
	t.Helper()
	name := "t" + strings.ToLower(rand.Text()[:12])
	execute(t, server, "CREATE SCHEMA "+name)
	t.Cleanup(func() { execute(t, server, "DROP SCHEMA "+name+" CASCADE") })
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	query := address.Query()
	query.Set("search_path", name)
	address.RawQuery = query.Encode()
	return address.String()
}

func execute(t testing.TB, server, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatal(err)
	}
}

func unavailable(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("REQUIRE_SERVICES") != "" {
		t.Fatalf("REQUIRE_SERVICES is set, and there is no Postgres: %v", err)
	}
	t.Skipf("SKIPPED, not tested against Postgres: DATABASE_URL names none, none is at %s, and none could be started: %v", usual, err)
}

// shared is the server of all tests of a process. A new one ends with the process.
var shared = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("DATABASE_URL"); given != "" {
		return given, ping(given)
	}
	if ping(usual) == nil {
		return usual, nil
	}
	dir, err := os.MkdirTemp("", "postgrestest")
	if err != nil {
		return "", err
	}
	server, err := start(dir)
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return server.URL, nil
})

func ping(server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// Server is a Postgres of a test's own, which it can stop and start.
type Server struct {
	URL      string
	bin      string
	dir      string
	port     int
	settings []string
	cmd      *exec.Cmd
}

// Start starts a server from the machine's binaries, with settings such as
// "synchronous_commit=off", and ends it after the test.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	server, err := start(t.TempDir(), settings...)
	if err != nil {
		unavailable(t, err)
	}
	t.Cleanup(func() { _ = server.Stop() })
	return server
}

func start(dir string, settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: filepath.Join(dir, "data"), port: port, settings: settings,
		URL: fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", port)}
	if err := s.own(dir); err != nil {
		return nil, err
	}
	init := s.command(context.Background(), "initdb", "-D", s.dir, "-U", "postgres", "-A", "trust")
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	return s, s.Start()
}

// own makes the folder accessible to the user of Postgres.
func (s *Server) own(dir string) error {
	if os.Getuid() != 0 {
		return nil
	}
	id, err := postgresUser()
	if err != nil {
		return err
	}
	for d := dir; d != filepath.Dir(os.TempDir()) && d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	return os.Chown(dir, int(id.uid), int(id.gid))
}

// Start starts the server again after Stop, and waits until it accepts connections.
func (s *Server) Start() error {
	args := []string{"-D", s.dir, "-p", strconv.Itoa(s.port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	s.cmd = s.command(context.Background(), "postgres", args...)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ping(s.URL) == nil {
			return nil
		}
	}
	return errors.New("postgres accepted no connection within 30 s")
}

// Stop ends the server at once, as a crash would.
func (s *Server) Stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		return err
	}
	_ = s.cmd.Wait() // its exit status is that of a stopped process
	return nil
}

// command runs one of Postgres's programs, which do not run as root.
func (s *Server) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = filepath.Dir(s.dir)
	cmd.SysProcAttr = unprivileged()
	return cmd
}

// unprivileged runs a command as the user of Postgres, if it would run as root.
func unprivileged() *syscall.SysProcAttr {
	var as *account
	if id, err := postgresUser(); err == nil && os.Getuid() == 0 {
		as = id
	}
	return attributes(as)
}

// account is a user of this machine.
type account struct{ uid, gid uint32 }

func postgresUser() (*account, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
	return &account{uint32(uid), uint32(gid)}, errors.Join(uidErr, gidErr)
}

// binaries is the folder of initdb and postgres.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("there is no initdb on this machine")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
