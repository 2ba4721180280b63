#!/bin/sh
# Resolves the pinned dependencies for every platform and Python at once, with the
# digests of all their files, into requirements/lock.txt and requirements/dev.txt.
#
#   tools/lock.sh             keep the versions that are pinned, add what is missing
#   tools/lock.sh --upgrade   newest versions; requirements/payload.in stays what it is
#
# Needs the network. What is written names neither an index nor a path.
set -eu

UV_VERSION=0.13.8

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install --quiet "uv==$UV_VERSION"

compile() {
    "$scratch/venv/bin/uv" pip compile --quiet --no-config --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links \
        --custom-compile-command "make lock" "$@"
}

compile "$@" --constraint requirements/payload.in \
    pyproject.toml requirements/build.in --output-file requirements/lock.txt
compile "$@" --constraint requirements/lock.txt \
    --group pyproject.toml:dev --output-file requirements/dev.txt
echo "lock: wrote requirements/lock.txt and requirements/dev.txt"
