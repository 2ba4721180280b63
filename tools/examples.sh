#!/bin/sh
# Rebuilds every examples/NAME/NAME.rs and compares the result with examples/SHA256SUMS.
#
#   tools/examples.sh            compare; exit code 1 names what differs
#   tools/examples.sh --update   write the .wasm files and SHA256SUMS anew
#
# Byte for byte the same wherever the checkout lies: paths given to rustc are
# relative and remapped, one codegen unit, nothing of the build left in the file.
# The committed files come from Debian 12's rustc; another compiler makes other
# bytes, so it is refused rather than compared.
set -eu
export LC_ALL=C

RUSTC=${RUSTC:-/usr/bin/rustc}
EXPECTED="rustc 1.63.0"

cd "$(dirname "$0")/../examples"

if ! found=$("$RUSTC" --version 2>/dev/null); then
    echo "examples: $RUSTC is missing" >&2
    echo "  as root: apt-get install rustc libstd-rust-dev-wasm32 lld" >&2
    exit 1
fi
case "$found" in
"$EXPECTED"*) ;;
*)
    echo "examples: expected $EXPECTED (Debian 12's), found $found" >&2
    echo "  the committed .wasm files work without rebuilding; rebuild them on Debian 12" >&2
    exit 1
    ;;
esac

built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

for source in */*.rs; do
    name=$(basename "$source" .rs)
    strip=symbols
    # The names of its functions are what its tests look at.
    [ "$name" = trap ] && strip=debuginfo
    mkdir -p "$built/$name"
    "$RUSTC" --edition 2021 --target wasm32-wasi -D warnings \
        -C opt-level=s -C lto=fat -C codegen-units=1 -C panic=abort -C strip="$strip" \
        --remap-path-prefix "$PWD=." -o "$built/$name/$name.wasm" "$source"
    chmod 644 "$built/$name/$name.wasm"
done

if [ "${1:-}" = --update ]; then
    (cd "$built" && sha256sum -- */*.wasm) >SHA256SUMS
    for module in "$built"/*/*.wasm; do
        name=$(basename "$module" .wasm)
        cp "$module" "$name/$name.wasm"
    done
    echo "examples: wrote $(wc -l <SHA256SUMS) modules and examples/SHA256SUMS"
elif (cd "$built" && sha256sum --check --quiet --strict "$OLDPWD/SHA256SUMS"); then
    echo "examples: $(wc -l <SHA256SUMS) modules rebuilt, each the same byte for byte"
else
    echo "examples: what was rebuilt differs from examples/SHA256SUMS" >&2
    echo "  after changing a source: make examples UPDATE=1" >&2
    exit 1
fi
