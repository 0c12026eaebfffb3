//go:build !race

package fleet_test

// underRace is whether the race detector watches, which takes many times as long.
const underRace = false
