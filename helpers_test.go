package tokenpatch_test

import (
	"testing"

	"github.com/tokenpatch/tokenpatch/internal/faulttest/pair"
)

// What the tests of this package share with those of faulttest.
const (
	idV1, idV2     = pair.IDV1, pair.IDV2
	pathV1, pathV2 = pair.PathV1, pair.PathV2
	tokenJSON      = pair.TokenJSON
	marker         = pair.Marker

	applied, notApplied, unknown = pair.Applied, pair.NotApplied, pair.Unknown
)

var (
	apiV1, apiV2, apis = pair.V1, pair.V2, pair.APIs

	newPair, newClientAt                   = pair.New, pair.ClientAt
	updateName, patchName, appendRole      = pair.UpdateName, pair.PatchName, pair.AppendRole
	through, retries, respond              = pair.Through, pair.Retries, pair.Respond
	assertOutcome, typesOf                 = pair.AssertOutcome, pair.TypesOf
	responses, cuts, grace                 = pair.Responses, pair.Cuts, pair.Grace
	addRole, writeAsOther, isOurs, newHung = pair.AddRole, pair.WriteAsOther, pair.IsOurs, pair.NewHung
)

type (
	api          = pair.API
	roundTripper = pair.RoundTripper
)

func assertAs[T error](t *testing.T, err error) T {
	t.Helper()
	return pair.AssertAs[T](t, err)
}
