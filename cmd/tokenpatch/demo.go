package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

const demoTokens = 150

// demo shows the commands on real processes of this program, against a service inside of it that limits and breaks things.
func demo(ctx context.Context, a *app) (err error) {
	dir, err := os.MkdirTemp("", "tokenpatch-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	d := &demonstration{app: a, dir: dir, service: tokenpatchtest.New()}
	defer d.service.Close()
	if err := d.prepare(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{d.plan, d.applyAndKill, d.goOn, d.report, d.compare} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// demonstration is the folder, the service and the environment of a demo.
type demonstration struct {
	*app
	dir     string
	service *tokenpatchtest.Service
	env     []string
}

// prepare makes the tokens, the file of changes, and what goes wrong.
func (d *demonstration) prepare() error {
	for id, key := range map[string]string{"5f0c00000000000000000001": "ops", "5f0c00000000000000000002": "qa"} {
		if err := d.service.AddRole(fmt.Sprintf(`{"_id":%q,"key":%q}`, id, key)); err != nil {
			return err
		}
	}
	var changes strings.Builder
	for i := range demoTokens {
		id := fmt.Sprintf("61095542756dba551110%04x", i)
		if i != 40 { // which the service does not have
			if err := d.service.AddV2(fmt.Sprintf(`{"_id":%q,"name":"ci %d","role":"writer","customRoleIds":["5f0c00000000000000000002"]}`, id, i)); err != nil {
				return err
			}
		}
		want := `{"role":"reader"}`
		if i%3 == 1 {
			want = `{"addCustomRoleIds":["ops"],"removeCustomRoleIds":["qa"]}`
		}
		fmt.Fprintf(&changes, `{"api":"v2","id":%q,"want":%s,"comment":"quarterly review"}`+"\n", id, want)
	}
	if err := os.WriteFile(filepath.Join(d.dir, "changes.jsonl"), []byte(changes.String()), 0o600); err != nil {
		return err
	}
	url, err := d.service.Listen()
	if err != nil {
		return err
	}
	d.env = append(os.Environ(), "LAUNCHDARKLY_API_HOST="+url, "LAUNCHDARKLY_ACCESS_TOKEN="+tokenpatchtest.AccessToken,
		"DEEPSET_API_URL="+url, "DEEPSET_API_KEY="+tokenpatchtest.APIKey)
	return nil
}

// misbehave has the service allow 40 requests in two seconds, and break connections before and after it has done what was asked.
func (d *demonstration) misbehave() {
	d.service.SetLatency(40 * time.Millisecond)
	d.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Window: 2 * time.Second, Global: 40})
	patches := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	d.service.Inject(
		tokenpatchtest.Fault{Match: patches, Times: 3, Chance: 0.1, Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: patches, Times: 3, Chance: 0.1, Cut: tokenpatchtest.CutBefore},
		tokenpatchtest.Fault{Match: patches, Times: 3, Chance: 0.1, Status: http.StatusServiceUnavailable},
	)
}

func (d *demonstration) plan(ctx context.Context) error {
	d.say("A file with %d changes. What would they do?", demoTokens)
	cmd := d.command(ctx, "plan", "changes.jsonl")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := d.finish(cmd.Run()); err != nil {
		return err
	}
	lines := bufio.NewScanner(&out)
	var last string
	for i := 0; lines.Scan(); i++ {
		if last = lines.Text(); i < 4 {
			fmt.Fprintln(d.stdout, last)
		}
	}
	_, err := fmt.Fprintf(d.stdout, "...\n%s\n", last)
	return err
}

func (d *demonstration) applyAndKill(ctx context.Context) error {
	d.misbehave()
	d.say("The service allows 20 requests a second, and breaks connections.\n# In the middle the process is killed.")
	cmd := d.command(ctx, "apply", "-timeout", "1s", "changes.jsonl")
	if err := cmd.Start(); err != nil {
		return err
	}
	for d.changed() < demoTokens/3 && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait()
	fmt.Fprintln(d.stdout, "\nkilled")
	return ctx.Err()
}

func (d *demonstration) goOn(ctx context.Context) error {
	d.say("The same command goes on. What was in flight is asked for first,\n# and not sent blindly again.")
	return d.finish(d.command(ctx, "apply", "-timeout", "1s", "changes.jsonl").Run())
}

func (d *demonstration) report(ctx context.Context) error {
	d.say("What became of each token?")
	cmd := d.command(ctx, "report")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := d.finish(cmd.Run()); err != nil {
		return err
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if i < 3 || !strings.HasPrefix(line, "applied") {
			fmt.Fprintln(d.stdout, line)
		}
	}
	return nil
}

// compare asks the service itself.
func (d *demonstration) compare(context.Context) error {
	d.say("And what does the service say?")
	times := map[int]int{}
	for i := range demoTokens {
		times[d.service.Changes(fmt.Sprintf("61095542756dba551110%04x", i))]++
	}
	refused := 0
	for _, request := range d.service.Requests() {
		if request.Status == http.StatusTooManyRequests {
			refused++
		}
	}
	fmt.Fprintf(d.stdout, "%d tokens were changed once, %d twice or more, %d not at all;\n%d of %d requests were refused with 429\n",
		times[1], demoTokens-times[0]-times[1], times[0], refused, d.service.RequestCount())
	return nil
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.stdout, "\n# "+format+"\n", args...)
}

// command is a process of this program, and shows how it is called.
func (d *demonstration) command(ctx context.Context, args ...string) *exec.Cmd {
	fmt.Fprintf(d.stdout, "$ tokenpatch %s\n", strings.Join(args, " "))
	program, err := os.Executable()
	if err != nil {
		program = os.Args[0]
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = d.dir, d.env
	cmd.Stdout, cmd.Stderr = io.Writer(d.stdout), d.stderr
	return cmd
}

// finish is how a command ended; that something was not applied is part of the show.
func (d *demonstration) finish(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= exitNotApplied {
		return nil
	}
	return err
}

// changed is how many tokens were changed.
func (d *demonstration) changed() (n int) {
	for i := range demoTokens {
		n += d.service.Changes(fmt.Sprintf("61095542756dba551110%04x", i))
	}
	return n
}
