package main

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// The linker sets these for a release: what go build knows of a module in a folder of its repository is not enough.
var releaseVersion, releaseCommit, releaseDate string

// built is what the program was built from.
type built struct{ version, commit, date string }

// build is the release, or what go build and go install have recorded. "(devel)" is a clone of the repository.
func build() built {
	b := built{releaseVersion, releaseCommit, releaseDate}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.version = cmp.Or(b.version, info.Main.Version)
		for _, setting := range info.Settings {
			switch setting.Key {
			case "vcs.revision":
				b.commit = cmp.Or(b.commit, setting.Value)
			case "vcs.time":
				b.date = cmp.Or(b.date, setting.Value)
			}
		}
	}
	const unknown = "unknown"
	return built{cmp.Or(b.version, unknown), cmp.Or(b.commit, unknown), cmp.Or(b.date, unknown)}
}

func version() string { return build().version }

func printVersion(_ context.Context, a *app) error {
	b := build()
	_, err := fmt.Fprintf(a.stdout, "tokenpatch %s\ncommit     %s\ndate       %s\nbuilt with %s %s/%s\n",
		b.version, b.commit, b.date, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
