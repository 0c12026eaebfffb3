# shellcheck shell=bash
# Sourced at the top of the tree: VERSION, COMMIT, DATE and LDFLAGS, with which the command is built for a release.
VERSION=${VERSION:-$(sed -n 's/^const version = "\(.*\)"$/\1/p' client.go)}
COMMIT=$(git rev-parse HEAD)
DATE=$(TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd)
LDFLAGS="-s -w -X main.releaseVersion=$VERSION -X main.releaseCommit=$COMMIT -X main.releaseDate=$DATE"
export VERSION COMMIT DATE LDFLAGS
