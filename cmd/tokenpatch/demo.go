package main

import (
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

const (
	demoTokens = 150
	stranger   = 120 // the token that somebody else changes; long after the kill, which could leave its own change unknown
)

// demo shows the commands on real processes of this program, against a service inside of it with
// limits and faults.
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
	for _, step := range []func(context.Context) error{d.plan, d.applyAndKill, d.resume, d.report, d.compare} {
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

func demoID(i int) string { return fmt.Sprintf("61095542756dba551110%04x", i) }

// prepare makes the tokens, and the file of changes as a spreadsheet saves it.
func (d *demonstration) prepare() error {
	const ops, qa = "5f0c1f2e3d4b5a6978870001", "5f0c1f2e3d4b5a6978870002"
	for id, key := range map[string]string{ops: "ops", qa: "qa"} {
		if err := d.service.AddRole(fmt.Sprintf(`{"_id":%q,"key":%q}`, id, key)); err != nil {
			return err
		}
	}
	changes := []string{"id;role;addCustomRoleIds;removeCustomRoleIds;comment"}
	for i := range demoTokens {
		if i != 40 { // which the service does not have
			if err := d.service.AddV2(fmt.Sprintf(`{"_id":%q,"name":"ci %d","role":"writer","customRoleIds":[%q]}`, demoID(i), i, qa)); err != nil {
				return err
			}
		}
		settings := "Reader;;"
		if i%3 == 1 {
			settings = ";ops;qa"
		}
		changes = append(changes, demoID(i)+";"+settings+";quarterly review")
	}
	if err := os.WriteFile(filepath.Join(d.dir, "changes.csv"), []byte(strings.Join(changes, "\r\n")), 0o600); err != nil {
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
	patches := func(r *http.Request) bool {
		return r.Method == http.MethodPatch && !strings.HasSuffix(r.URL.Path, demoID(stranger))
	}
	d.service.Inject(
		tokenpatchtest.Fault{Match: patches, Times: 3, Chance: 0.1, Cut: tokenpatchtest.CutAfter},
		tokenpatchtest.Fault{Match: patches, Times: 3, Chance: 0.1, Cut: tokenpatchtest.CutBefore},
		tokenpatchtest.Fault{Match: patches, Times: 3, Chance: 0.1, Status: http.StatusServiceUnavailable},
	)
}

func (d *demonstration) plan(ctx context.Context) error {
	d.say("A spreadsheet with %d changes. What would they do?", demoTokens)
	return d.beginning(d.command(ctx, "plan", "-o", "approved.jsonl", "changes.csv"), 22)
}

// beginning runs a command, and shows its first lines.
func (d *demonstration) beginning(cmd *exec.Cmd, lines int) error {
	var out, rest bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &rest
	if err := d.finish(cmd.Run()); err != nil {
		return errors.Join(err, errors.New(rest.String()))
	}
	for range lines {
		line, err := out.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // it is shorter: all of it is shown
		}
		fmt.Fprint(d.stdout, line)
	}
	_, err := fmt.Fprintf(d.stdout, "...\n%s", rest.String())
	return err
}

func (d *demonstration) applyAndKill(ctx context.Context) error {
	d.misbehave()
	d.say("Somebody approves it. Meanwhile somebody else changes one of the tokens.\n# The service allows 20 requests a second, and breaks connections.\n# In the middle the process is killed.")
	if err := d.service.AddV2(fmt.Sprintf(`{"_id":%q,"name":"ci %d","role":"admin"}`, demoID(stranger), stranger)); err != nil {
		return err
	}
	cmd := d.command(ctx, "apply", "-timeout", "2s", "approved.jsonl")
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

func (d *demonstration) resume(ctx context.Context) error {
	d.say("The same command resumes. What was in flight is read first,\n# and not sent blindly again.")
	return d.finish(d.command(ctx, "apply", "-timeout", "2s", "approved.jsonl").Run())
}

func (d *demonstration) report(ctx context.Context) error {
	d.say("What is the outcome of each token, and what is to be done?")
	return d.beginning(d.command(ctx, "report"), 16)
}

// compare asks the service itself.
func (d *demonstration) compare(context.Context) error {
	d.say("And what does the service say?")
	times := map[int]int{}
	for i := range demoTokens {
		times[d.service.Changes(demoID(i))]++
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

// finish is how a command ended; a change that was not applied is part of the show.
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
		n += d.service.Changes(demoID(i))
	}
	return n
}
