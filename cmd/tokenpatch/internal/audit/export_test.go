package audit

import (
	"maps"
	"slices"
)

// SettingPaths returns the paths of all settings.
func SettingPaths() []string { return slices.Sorted(maps.Keys(settings())) }
