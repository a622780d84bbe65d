#!/bin/sh
# Builds ci/porcupine, which judges histories with Porcupine (pinned in its go.mod), into the user's cache; and copies
# there the histories that Porcupine carries. Repeatable; prints the program's path: test_data/ lies beside it.
set -eu

source=$(cd "$(dirname "$0")/porcupine" && pwd)
content=$(cat "$source"/go.mod "$source"/go.sum "$source"/*.go | cksum | cut -d ' ' -f 1)
directory=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-chaos/porcupine-$content
target=$directory/porcupine
if [ ! -x "$target" ]; then
    if ! command -v go >/dev/null 2>&1; then
        echo "build-porcupine: no Go found; see https://go.dev/doc/install" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$directory")"
    staging=$(mktemp -d "$directory.XXXXXX")
    trap 'rm -rf "$staging"' EXIT
    cd "$source"
    CGO_ENABLED=0 go build -trimpath -o "$staging/porcupine" . >&2
    cp -R "$(go list -m -f '{{.Dir}}' github.com/anishathalye/porcupine)/test_data" "$staging/test_data"
    chmod -R u+w,a+rX "$staging"
    # Whole or not at all; another build of the same may have been faster.
    [ -e "$directory" ] || mv "$staging" "$directory"
fi
echo "$target"
