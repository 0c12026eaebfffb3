package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"time"

	"github.com/tokenpatch/tokenpatch"
	"github.com/tokenpatch/tokenpatch/cmd/tokenpatch/internal/audit"
)

// auditOptions are the flags of the audit. What is not given is as in the configuration file.
type auditOptions struct {
	config, baseline, write string
	init, serviceOnly       bool
	limit                   int
	failOn                  *audit.Severity
	suggest                 string
}

const defaultAuditConfig = "audit.toml"

func (o *auditOptions) setFailOn(text string) error {
	o.failOn = new(audit.Severity)
	return o.failOn.UnmarshalText([]byte(text))
}

func (o *options) setUnused(text string) (err error) {
	o.unused, err = audit.ParseDays(text)
	return err
}

func (o *auditOptions) setSuggest(text string) error {
	config := audit.DefaultConfig()
	o.suggest = text
	return config.Suggest(text)
}

// auditTokens reads all tokens once, and reports the findings.
func auditTokens(ctx context.Context, a *app) error {
	if a.audit.init {
		return a.initAudit()
	}
	if err := a.checkAudit(); err != nil {
		return err
	}
	config, err := a.auditConfig()
	if err != nil {
		return err
	}
	report, err := a.compared(ctx, config)
	if err != nil {
		return err
	}
	if err := a.output(func(w io.Writer) error { return a.writeAudit(w, report) }); err != nil {
		return err
	}
	a.auditDone(report)
	if report.Fails() {
		return exitStatus(exitFindings)
	}
	return nil
}

// initAudit writes a configuration file with comments.
func (a *app) initAudit() error {
	name := cmp.Or(a.audit.config, defaultAuditConfig)
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.WriteString(file, audit.Example)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	fmt.Fprintf(a.stderr, "wrote %s: every rule with its severity and thresholds\n", printable(name))
	return nil
}

// checkAudit refuses contradictory flags.
func (a *app) checkAudit() error {
	if a.audit.limit < 0 {
		return usageError{fmt.Sprintf("-limit %d: want a number such as 200", a.audit.limit)}
	}
	if a.audit.write == "-" {
		return usageError{"-write -: want a FILE: findings go to standard output"}
	}
	config := cmp.Or(a.audit.config, defaultAuditConfig)
	for _, other := range []string{config, a.out, a.audit.baseline} {
		if a.audit.write != "" && other != "" && sameFile(a.audit.write, other) {
			return usageError{fmt.Sprintf("-write %s: want another file: this one is %s, which would be lost", a.audit.write, other)}
		}
	}
	return a.checkOutput(config)
}

// auditConfig reads the configuration file, if there is one, and applies the flags.
func (a *app) auditConfig() (audit.Config, error) {
	name := cmp.Or(a.audit.config, defaultAuditConfig)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && a.audit.config == "" {
		err = nil
	}
	if err != nil {
		return audit.Config{}, err
	}
	config, err := audit.Parse(name, text)
	if err != nil {
		return config, err
	}
	config.Unused = cmp.Or(a.unused, config.Unused)
	config.Limit = cmp.Or(a.audit.limit, config.Limit)
	config.ServiceOnly = config.ServiceOnly || a.audit.serviceOnly
	if a.audit.failOn != nil {
		config.FailOn = *a.audit.failOn
	}
	if a.audit.suggest != "" {
		err = config.Suggest(a.audit.suggest)
	}
	return config, err
}

// compared makes an audit, and compares it with the earlier one of -baseline, if any. The baseline
// is opened first: anything but a report is refused before the tokens are read.
func (a *app) compared(ctx context.Context, config audit.Config) (*audit.Report, error) {
	if a.audit.baseline == "" {
		return a.audited(ctx, config)
	}
	file, err := os.Open(a.audit.baseline)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var report *audit.Report
	baseline, err := audit.OpenBaseline(file)
	if err == nil {
		if report, err = a.audited(ctx, config); err != nil {
			return nil, err
		}
		err = report.Compare(baseline)
	}
	if err != nil {
		return nil, fmt.Errorf("-baseline %s: %w", a.audit.baseline, err)
	}
	return report, nil
}

// audited reads the tokens, and looks at each.
func (a *app) audited(ctx context.Context, rules audit.Config) (*audit.Report, error) {
	config := a.config()
	if err := credentials(config, "", "it reads tokens of V2; those of V1 cannot be read"); err != nil {
		return nil, err
	}
	seen := newTraffic()
	config.Hooks = seen.hooks()
	client, err := a.client(config)
	if err != nil {
		return nil, err
	}
	var done atomic.Int64
	end := a.showReading(seen, &done, 0)
	defer end()
	facts, err := auditFacts(ctx, client, rules)
	if err != nil {
		return nil, err
	}
	auditor := audit.New(facts)
	if err := a.lookAtTokens(ctx, client, auditor, &done); err != nil {
		return nil, err
	}
	report := auditor.Report()
	report.Host = cmp.Or(config.V2.BaseURL, tokenpatch.V2BaseURL)
	return report, nil
}

// lookAtTokens looks at each token, and writes its suggested change at once, so no change is kept
// in memory.
func (a *app) lookAtTokens(ctx context.Context, client *tokenpatch.Client, auditor *audit.Auditor, done *atomic.Int64) error {
	var errRead error // which has nothing to do with the file
	look := func(changes io.Writer) error {
		for token, err := range client.V2.Tokens(ctx, tokenpatch.TokensOptions{ShowAll: true}) {
			if errRead = err; err != nil {
				return err
			}
			done.Add(1)
			if change := auditor.Add(token); change != nil {
				if err := writeJSON(changes, change); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if a.audit.write == "" {
		return look(io.Discard)
	}
	err := a.replace(a.audit.write, look)
	if err != nil && errRead == nil {
		return fmt.Errorf("-write %s: %w", a.audit.write, err)
	}
	return err
}

// auditFacts reads what the rules need besides the tokens. A credential without the right to read
// it is no error.
func auditFacts(ctx context.Context, client *tokenpatch.Client, rules audit.Config) (audit.Facts, error) {
	facts := audit.Facts{Config: rules, Now: time.Now().UTC().Truncate(time.Second)}
	identity, err := client.V2.Identity(ctx)
	switch {
	case err == nil:
		facts.Account, facts.Self = identity.AccountID, identity.TokenID
	case !mayNotRead(err):
		return facts, err
	}
	for role, err := range client.V2.CustomRoles(ctx) {
		if err != nil && mayNotRead(err) {
			facts.Roles, facts.RolesErr = nil, err.Error()
			break
		}
		if err != nil {
			return facts, err
		}
		facts.Roles = append(facts.Roles, *role)
	}
	return facts, nil
}

// mayNotRead reports whether a read failed because the credential may not make it, or the service
// does not have it. V2 responds with 401 to both a wrong credential and one without the right: a
// wrong one fails again when the tokens are listed.
func mayNotRead(err error) bool {
	return errors.As(err, new(*tokenpatch.UnauthorizedError)) || errors.As(err, new(*tokenpatch.ForbiddenError)) || errors.As(err, new(*tokenpatch.NotFoundError))
}

// auditDone prints what was written, and what to do next.
func (a *app) auditDone(r *audit.Report) {
	if a.out != "" && a.out != "-" {
		fmt.Fprintf(a.stderr, "%s; saved to %s\n", auditCounts(r), printable(a.out))
	}
	if file := printable(a.audit.write); file != "" {
		fmt.Fprintf(a.stderr, "saved %s to %s", count(r.Changes, "suggested change"), file)
		if r.Changes > 0 {
			fmt.Fprintf(a.stderr, "; next: tokenpatch plan -o approved.jsonl %s", file)
		}
		fmt.Fprintln(a.stderr)
	}
}
