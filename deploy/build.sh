#!/bin/sh
# Makes dist/, which the published package runs: the sources without their types, and beside them, at the same places as in
# this tree, the files that they look for by a path from their own; and the module that verifies a log in a browser.
# `npm pack` calls it; run deploy/setup.sh before.
# An argument names another folder, inside this tree.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
out=${1:-dist}

rm -rf "$out"
node_modules/.bin/node node_modules/typescript/bin/tsc --project tsconfig.build.json --outDir "$out" >&2
node_modules/.bin/node deploy/browser-bundle.ts "$out/browser/verify-log.js"
for file in package.json deploy/shellstream.example.yaml protocol/accords/*.yaml native/crypto/crypto.node native/kernel/kernel.node \
  native/sandbox/sandbox.node native/bpf/shellstream.o; do
  mkdir -p "$out/$(dirname "$file")"
  cp "$file" "$out/$file"
done
