package benchmarks

import (
	"encoding/json"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/wI2L/jsondiff"

	"github.com/tokenpatch/tokenpatch"
)

// BenchmarkApply patches a full token, from JSON to JSON.
func BenchmarkApply(b *testing.B) {
	patch := tokenpatch.NewPatch().SetName("runner").SetRole(tokenpatch.RoleWriter).SetCustomRoleIDs("5f0c1f2e3d4b5a6978879601")
	body, err := patch.MarshalJSON()
	if err != nil {
		b.Fatal(err)
	}
	theirs, err := jsonpatch.DecodePatch(body)
	if err != nil {
		b.Fatal(err)
	}
	document := []byte(fullToken)
	b.Run("of=tokenpatch", func(b *testing.B) {
		run(b, func() error {
			_, err := patch.ApplyJSON(document)
			return err
		})
	})
	b.Run("of=evanphx", func(b *testing.B) {
		run(b, func() error {
			_, err := theirs.Apply(document)
			return err
		})
	})
}

// BenchmarkDiff compares two full tokens whose name, role, custom roles and
// inline role differ. jsondiff is given what it works on: JSON, decoded.
func BenchmarkDiff(b *testing.B) {
	changed := strings.NewReplacer(`"deployer"`, `"runner"`, `"reader"`, `"writer"`, `"5f0c1f2e3d4b5a6978879602"`, `"5f0c1f2e3d4b5a6978879603"`, `"updateOn"`, `"updateOff"`).Replace(fullToken)
	var before, after tokenpatch.Token
	var decodedBefore, decodedAfter any
	for body, into := range map[string][2]any{fullToken: {&before, &decodedBefore}, changed: {&after, &decodedAfter}} {
		for _, v := range into {
			if err := json.Unmarshal([]byte(body), v); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("of=tokenpatch", func(b *testing.B) {
		run(b, func() error { return tokenpatch.Diff(before, after).Err() })
	})
	b.Run("of=jsondiff", func(b *testing.B) {
		run(b, func() error {
			_, err := jsondiff.Compare(decodedBefore, decodedAfter)
			return err
		})
	})
}
