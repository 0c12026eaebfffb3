package postgrestest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Pooler starts a PgBouncer in front of the server at this URL, with settings such
// as "pool_mode = session", returns its URL, and ends it after the test.
func Pooler(t testing.TB, server string, settings ...string) string {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		unavailable(t, err)
	}
	address, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	dir, config := configure(t, address, port, settings)
	cmd := exec.Command(bin, "-q", config)
	cmd.Dir = dir
	cmd.SysProcAttr = unprivileged()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
	})
	address.Host = "127.0.0.1:" + strconv.Itoa(port)
	plain := url.URL{Scheme: address.Scheme, User: address.User, Host: address.Host, Path: address.Path, RawQuery: "sslmode=disable"}
	for end := time.Now().Add(30 * time.Second); ping(plain.String()) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("pgbouncer accepted no connection within 30 s")
		}
	}
	return address.String()
}

// configure writes the configuration of a PgBouncer on a port.
func configure(t testing.TB, address *url.URL, port int, settings []string) (dir, config string) {
	t.Helper()
	dir = t.TempDir()
	config = filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%s user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
auth_type = any
unix_socket_dir =
%s
`, address.Hostname(), address.Port(), port, strings.Join(settings, "\n"))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := (&Server{dir: filepath.Join(dir, "data")}).own(dir); err != nil {
		t.Fatal(err)
	}
	return dir, config
}
