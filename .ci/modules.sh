# shellcheck shell=bash
# Sourced by run and tidy, at the top of the tree: what they know of its modules. The folder $tmp is theirs.

modules=$(find . \( -name .git -o -name testdata -o -name node_modules \) -prune -o -name go.mod -print |
	sed 's,/go\.mod$,,' | sort)

# The version at which alone finds the modules of this tree: of this run only, since the module cache keeps what it got.
alone_version=v0.0.0-dev.$(date +%s).$$

# prepare_alone makes a module proxy from the tree. drop_alone forgets what was got from it.
prepare_alone() {
	GOWORK=off go build -C tools -o "$tmp/" ./modproxy
	"$tmp/modproxy" -version "$alone_version" -o "$tmp/alone"
}

drop_alone() {
	local cache
	cache=$(go env GOMODCACHE)/github.com/tokenpatch
	[ -d "$cache" ] || return 0
	find "$cache" "$cache/../../cache/download/github.com/tokenpatch" -name "*$alone_version*" -prune \
		-exec chmod -R u+w {} + -exec rm -rf {} +
}

# alone runs a command in the folder of module $1 as somebody would who has this module only: without the workspace, and
# with the other modules of the tree from the proxy.
alone() {
	local module=$1
	shift
	(
		cd "$module"
		export GOWORK=off GONOSUMDB=github.com/tokenpatch/tokenpatch
		GOFLAGS="$(go env GOFLAGS) -modfile=$tmp/alone/mod/$module/go.mod"
		GOPROXY="file://$tmp/alone/proxy,$(go env GOPROXY)"
		export GOFLAGS GOPROXY
		"$@"
	)
}

# tidied prints how go mod tidy would have the go.mod and the go.sum of module $1 otherwise, and keeps both tidied for
# alone, with the sums of the tree's modules, which no go.sum of the tree can have.
tidied() {
	local files=$tmp/alone/mod/$1 before=$tmp/before
	mkdir -p "$before"
	cp "$files/go.mod" "$files/go.sum" "$before"
	alone "$1" go mod tidy || exit 1
	grep -Fv "$alone_version" "$files/go.sum" >"$tmp/go.sum" || true
	diff -u -L "$1/go.mod" -L tidy "$before/go.mod" "$files/go.mod" &&
		diff -u -L "$1/go.sum" -L tidy "$before/go.sum" "$tmp/go.sum"
}
