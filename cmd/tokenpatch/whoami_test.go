package main_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tokenpatch/tokenpatch/tokenpatchtest"
)

func TestWhoami(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	e := s.run(0, "whoami")
	assert.Contains(t, e.stdout, "V1: the key names no expiry\n"+caller+"a personal token of member "+tokenpatchtest.MemberID+"\n")

	s.service.SetLimits(tokenpatchtest.V2, tokenpatchtest.Limits{Global: 20, Credential: 5})
	assert.Regexp(t, `\nrate limit of the account: 1[89] of 20 left until \d\d:\d\d:\d\d UTC\nrate limit of the credential: [34] of 5 left until `, s.run(0, "whoami").stdout)

	payload := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp":%d}`, time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC).Unix()))
	s.env = append(s.env, "DEEPSET_API_KEY=api_e30."+payload+".c2ln")
	assert.Contains(t, s.run(0, "whoami").stdout, "V1: the key expired at 2020-01-02T03:04:05Z\n")
	s.env = append(s.env, "LAUNCHDARKLY_ACCESS_TOKEN=wrong-credential")
	e = s.run(1, "whoami")
	assert.Contains(t, e.stderr, "401")
	assert.NotContains(t, e.stdout+e.stderr, "wrong-credential")
}

// A run stays in its account.
func TestARunOfAnotherAccount(t *testing.T) {
	onlyText(t)
	t.Parallel()
	s := newShell(t)
	s.tokens(2)
	s.service.Inject(tokenpatchtest.Fault{Match: patches, Status: 503, Times: -1})
	s.file("x.jsonl", `{"id":"token0","want":{"role":"reader"}}`)
	p := s.start("", "apply", "x.jsonl")
	s.until(func() bool { return s.service.RequestCount() > 2 })
	require.NoError(t, p.Process.Kill())
	_ = p.Wait()
	s.service.ClearFaults()

	const other = "hXq7mZt2Lk9wPv4cRb8nYs6dGf3jTa5e"
	s.service.AddCredential(tokenpatchtest.Credential{AccessToken: other, AccountID: "569f183514f4432160000002"})
	ours := s.env
	s.env = append(slices.Clip(s.env), "LAUNCHDARKLY_ACCESS_TOKEN="+other)
	e := s.run(1, "apply", "x.jsonl")
	assert.Contains(t, e.stderr, "is of account "+tokenpatchtest.AccountID+", and the credential is of account 569f183514f4432160000002")
	assert.Zero(t, s.service.Changes("token0"))
	s.env = ours
	s.run(0, "apply", "-timeout", "1s", "x.jsonl")
	assert.Equal(t, 1, s.service.Changes("token0"))

	s.file("y.jsonl", `{"id":"token1","want":{"role":"reader"}}`)
	s.run(0, "plan", "-o", "approved.jsonl", "y.jsonl")
	s.env = append(slices.Clip(ours), "LAUNCHDARKLY_ACCESS_TOKEN="+other)
	assert.Contains(t, s.run(1, "apply", "approved.jsonl").stderr, "approved.jsonl was planned in account "+tokenpatchtest.AccountID+", and the credential is of account 569f183514f4432160000002: nothing was sent")
	assert.Zero(t, s.service.Changes("token1"))
}

// The command's own token stays unchanged, unless somebody wants it changed.
func TestAllowSelf(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	require.NoError(t, s.service.AddV2(`{"_id":"`+tokenpatchtest.CredentialID+`","name":"mine","role":"admin"}`))
	s.file("x.jsonl", `{"id":"token0","want":{"role":"reader"}}
{"id":"`+tokenpatchtest.CredentialID+`","want":{"role":"reader"}}`)
	e := s.run(0, "plan", "x.jsonl")
	assert.Contains(t, e.stdout, "1 of 2 tokens would change")
	assert.Contains(t, e.stdout, "this is the token that tokenpatch runs with: want -allow-self to change it")
	assert.Contains(t, s.run(1, "apply", "x.jsonl").stderr, tokenpatchtest.CredentialID+": this is the token that tokenpatch runs with")
	assert.Zero(t, s.service.Changes("token0")+s.service.Changes(tokenpatchtest.CredentialID))
	assert.Contains(t, s.run(0, "plan", "-allow-self", "x.jsonl").stdout, "2 of 2 tokens would change")
	s.run(0, "apply", "-allow-self", "x.jsonl")
	assert.Equal(t, 1, s.service.Changes(tokenpatchtest.CredentialID))
}

// If it cannot be read whose credential it is, the command prints so and continues.
func TestAnIdentityThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	s.tokens(1)
	s.service.Inject(tokenpatchtest.Fault{Match: isIdentity, Status: 403, Times: -1})
	s.file("x.jsonl", `{"id":"token0","want":{"role":"reader"}}`)
	e := s.run(0, "apply", "x.jsonl")
	assert.Contains(t, e.stderr, "whose credential this is could not be read, so the account is not checked: ")
	assert.Equal(t, 1, s.service.Changes("token0"))
}

func isIdentity(r *http.Request) bool { return r.URL.Path == "/api/v2/caller-identity" }
