package faulttest_test

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
	apis = pair.APIs

	newPair, newClientAt, serveRaw, refusingAddress = pair.New, pair.ClientAt, pair.ServeRaw, pair.RefusingAddress
	updateName, patchName, appendRole               = pair.UpdateName, pair.PatchName, pair.AppendRole
	through, retries, respond                       = pair.Through, pair.Retries, pair.Respond
	assertOutcome, typesOf                          = pair.AssertOutcome, pair.TypesOf
	responses, grace                                = pair.Responses, pair.Grace
	addRole, writeAsOther, isOurs, newHung          = pair.AddRole, pair.WriteAsOther, pair.IsOurs, pair.NewHung
)

type (
	api          = pair.API
	roundTripper = pair.RoundTripper
)

func assertAs[T error](t *testing.T, err error) T {
	t.Helper()
	return pair.AssertAs[T](t, err)
}
