# shellcheck shell=bash
# Sourced at the top of the tree: VERSION, COMMIT, its DATE and TIMESTAMP, and LDFLAGS, with which the command is built for a
# release. goreleaser's own time of the commit is that of the build if the clone has no remote.
VERSION=${VERSION:-$(sed -n 's/^const version = "\(.*\)"$/\1/p' client.go)}
COMMIT=$(git rev-parse HEAD)
DATE=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)
TIMESTAMP=$(git log -1 --format=%ct)
LDFLAGS="-s -w -X main.releaseVersion=$VERSION -X main.releaseCommit=$COMMIT -X main.releaseDate=$DATE"
export VERSION COMMIT DATE TIMESTAMP LDFLAGS
