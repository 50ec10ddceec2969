#!/bin/sh
# Builds InfluxDB 2.7.12 for the tests and benchmarks, from the Go module proxy: `make influxd`.
#
# Needs Go 1.24 or later, cargo with a stable toolchain, gcc and pkg-config; some five minutes, and
# 3 GB that are gone afterwards. `go install` refuses the module for its replace directives, so it is
# built as a dependency of a module of ours, with go.mod and go.sum pinned beside this file.
set -eu

version=2.7.12
here=$(cd "$(dirname "$0")" && pwd)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/candlewick/influxd-$version
if [ -x "$folder/influxd" ]; then
  echo "$folder/influxd is there"
  exit 0
fi
for tool in go cargo gcc pkg-config; do
  command -v "$tool" >/dev/null || { echo "build.sh: $tool is needed, and not on the PATH" >&2; exit 1; }
done

mkdir -p "$folder"
work=$(mktemp -d "$folder/build-XXXXXX")
# Go keeps its modules without the right to write.
trap 'chmod -R u+w "$work" && rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir "$work/module" "$work/wrap"
cp "$here/go.mod" "$here/go.sum" "$work/module"
cd "$work/module"

# All caches in one folder, to be taken away as a whole; flux's is in the user's cache.
export GOPATH="$work/go" GOCACHE="$work/go-build" GOTMPDIR="$work" XDG_CACHE_HOME="$work/cache"
export GOFLAGS=-mod=readonly CGO_ENABLED=1 RUSTUP_TOOLCHAIN=stable
mkdir -p "$XDG_CACHE_HOME"

# It stands in pkg-config's place, builds flux with cargo, and asks the real one for the rest.
go build -o "$work/wrap/pkg-config" github.com/influxdata/pkg-config
# flux denies warnings, of which newer compilers have more; RUSTFLAGS does not reach it.
printf '#!/bin/sh\nexec "$@" --cap-lints=warn\n' >"$work/wrap/rustc-caplints"
chmod +x "$work/wrap/rustc-caplints"
PATH="$work/wrap:$PATH" RUSTC_WRAPPER="$work/wrap/rustc-caplints" \
  go build -trimpath -tags sqlite_foreign_keys,sqlite_json -o "$work/influxd" \
  github.com/influxdata/influxdb/v2/cmd/influxd
# The whole of it at once: a build that was stopped leaves none.
mv "$work/influxd" "$folder/influxd"
echo "$folder/influxd is built"
