package audit

import (
	"slices"
	"strings"

	"github.com/tokenpatch/tokenpatch"
)

// denyAll is the policy of a quarantine. A policy without allowed actions would still allow viewing
// projects.
func denyAll() []tokenpatch.Statement {
	return []tokenpatch.Statement{{Effect: tokenpatch.EffectDeny, Resources: []string{"*"}, Actions: []string{"*"}}}
}

func deniesAll(s tokenpatch.Statement) bool {
	return !allows(s) && slices.Contains(s.Actions, "*") && slices.Contains(s.Resources, "*")
}

// allows reports whether a statement does not deny. An unknown effect may allow.
func allows(s tokenpatch.Statement) bool {
	return !strings.EqualFold(string(s.Effect), string(tokenpatch.EffectDeny))
}

// everyAction reports whether a statement is about every action, or about all but some.
func everyAction(s tokenpatch.Statement) bool {
	return slices.ContainsFunc(s.Actions, isWildcard) || len(s.NotActions) > 0
}

// everyResource reports whether a statement is about everything of a kind, or about everything but some resources.
func everyResource(s tokenpatch.Statement) bool {
	return slices.ContainsFunc(s.Resources, isWhole) || len(s.NotResources) > 0
}

// isWhole reports whether a resource specifier, such as proj/*:env/*:flag/*, stands for everything of a kind.
func isWhole(resource string) bool {
	for part := range strings.SplitSeq(resource, ":") {
		_, name, named := strings.Cut(part, "/")
		if named && !isWildcard(name) || !named && !isWildcard(part) && part != "acct" {
			return false
		}
	}
	return true
}

func isWildcard(name string) bool { return name != "" && strings.Trim(name, "*") == "" }

// policyText is a policy as a sentence: allow * on proj/*; deny deleteProject on proj/*.
func policyText(policy []tokenpatch.Statement) string {
	texts := make([]string, 0, min(len(policy), maxFew))
	for _, s := range policy[:min(len(policy), maxFew)] {
		texts = append(texts, string(s.Effect)+" "+allBut(s.Actions, s.NotActions)+" on "+allBut(s.Resources, s.NotResources))
	}
	return cut(strings.Join(texts, "; "), maxEvidence/2) + more(len(policy))
}

func more(n int) string {
	if n <= maxFew {
		return ""
	}
	return fewOf(nil, n-maxFew)
}

func allBut(some, but []string) string {
	switch {
	case len(but) > 0:
		return "all but " + few(but)
	case len(some) == 0:
		return "nothing"
	}
	return few(some)
}
