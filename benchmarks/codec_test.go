package benchmarks

import (
	"encoding/json"
	"testing"

	"github.com/tokenpatch/tokenpatch"
)

func BenchmarkEncodePatch(b *testing.B) {
	roles := []string{"5f0c1f2e3d4b5a6978879601"}
	b.Run("of=tokenpatch", func(b *testing.B) {
		run(b, func() error {
			_, err := tokenpatch.NewPatch().SetName("deployer").SetRole(tokenpatch.RoleReader).SetCustomRoleIDs(roles...).MarshalJSON()
			return err
		})
	})
	b.Run("of=encoding-json", func(b *testing.B) {
		run(b, func() error {
			_, err := json.Marshal([]plainOperation{
				{"replace", "/name", "deployer"}, {"replace", "/role", "reader"}, {"replace", "/customRoleIds", roles},
			})
			return err
		})
	})
}

func BenchmarkDecodeToken(b *testing.B) {
	body := []byte(fullToken)
	b.Run("of=tokenpatch", func(b *testing.B) {
		run(b, func() error {
			var token tokenpatch.Token
			return token.UnmarshalJSON(body)
		})
	})
	b.Run("of=encoding-json", func(b *testing.B) {
		run(b, func() error {
			var token plainToken
			return json.Unmarshal(body, &token)
		})
	})
}
