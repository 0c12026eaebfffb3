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

// 64 goroutines, and no rate limit.
func BenchmarkParallel(b *testing.B) {
	parallel := func(b *testing.B, call func() error) {
		b.SetParallelism(32) // for each of two cores
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := call(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	b.Run("of=tokenpatch", func(b *testing.B) { parallel(b, patchToken(b)) })
	b.Run("of=net-http", func(b *testing.B) { parallel(b, plainPatchToken(b)) })
}
