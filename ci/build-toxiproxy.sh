#!/bin/sh
# Builds the pinned Toxiproxy server into the user's cache, where the Docker backend looks for it.
# Repeatable; prints the path. `mcp-chaos run --backend docker` does the same when it first needs it.
set -eu

# Keep in step with TOXIPROXY_VERSION in harness/images.py (a unit test compares them).
version=v2.12.0

directory=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-chaos/toxiproxy-$version
target=$directory/server
if [ ! -x "$target" ]; then
    if ! command -v go >/dev/null 2>&1; then
        echo "build-toxiproxy: no Go found; see https://go.dev/doc/install" >&2
        exit 1
    fi
    mkdir -p "$directory"
    staging=$(mktemp -d "$directory/build.XXXXXX")
    trap 'rm -rf "$staging"' EXIT
    GOFLAGS=-trimpath CGO_ENABLED=0 GOBIN=$staging \
        go install "github.com/Shopify/toxiproxy/v2/cmd/server@$version" >&2
    mv "$staging/server" "$target"
fi
echo "$target"
