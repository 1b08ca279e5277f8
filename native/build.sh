#!/bin/sh
# Builds the native parts: native/build.sh [bpf] [kernel] [crypto] [sandbox]   (none named: all)
#
#   bpf     native/bpf/shellstream.o            clang-14, llvm-strip
#   kernel  native/kernel/kernel.node, .d.ts    cargo, @napi-rs/cli
#   crypto  native/crypto/crypto.node, .d.ts    cargo, @napi-rs/cli
#   sandbox native/sandbox/sandbox.node, .d.ts  cargo, @napi-rs/cli
#
# A target is left alone when its outputs are there and the content of its inputs is what it was.
set -eu

native=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$native")
stamps=$native/target/stamps
bpf_flags="-O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Werror"
PATH=$root/node_modules/.bin:$PATH
export PATH CARGO_BUILD_JOBS="${CARGO_BUILD_JOBS:-2}"

main() {
  [ $# -gt 0 ] || set -- bpf kernel crypto sandbox
  mkdir -p "$stamps"
  for target in "$@"; do
    case $target in
      bpf) unless_current bpf "$native/bpf/shellstream.o" build_bpf ;;
      kernel | crypto | sandbox) unless_current "$target" "$native/$target/$target.node" build_addon ;;
      *)
        echo "usage: native/build.sh [bpf] [kernel] [crypto] [sandbox]" >&2
        exit 2
        ;;
    esac
  done
}

# unless_current TARGET OUTPUT BUILDER
unless_current() {
  exec 9>"$stamps/$1.lock"
  flock 9
  now=$(inputs_of "$1" | sha256sum | cut -d ' ' -f 1)
  if [ -e "$2" ] && [ "$(cat "$stamps/$1" 2>/dev/null)" = "$now" ]; then
    echo "native: $1 is up to date"
  else
    echo "native: building $1"
    rm -f "$stamps/$1"
    "$3" "$1"
    echo "$now" >"$stamps/$1"
  fi
  exec 9>&-
}

inputs_of() {
  cat "$native/build.sh"
  case $1 in
    bpf)
      clang-14 --version
      hash_tree "$native/bpf"
      ;;
    *)
      rustc --version
      cat "$native/Cargo.toml" "$native/Cargo.lock"
      hash_tree "$native/$1"
      ;;
  esac
}

hash_tree() {
  find "$1" -type f ! -name '*.o' ! -name '*.node' ! -name '*.d.ts' ! -name '*.test.ts' ! -path '*/target/*' |
    LC_ALL=C sort | while read -r file; do sha256sum "$file"; done
}

build_bpf() {
  cd "$native/bpf"
  # asm/types.h lives in the multiarch folder, which clang does not search for the bpf target.
  # shellcheck disable=SC2086
  clang-14 $bpf_flags -I "/usr/include/$(uname -m)-linux-gnu" -c shellstream.bpf.c -o shellstream.o.new
  llvm-strip-14 -g shellstream.o.new
  mv shellstream.o.new shellstream.o
}

build_addon() {
  fresh=$native/target/addon/$1
  rm -rf "$fresh"
  mkdir -p "$fresh"
  (cd "$root" && napi build --release --manifest-path "$native/$1/Cargo.toml" --target-dir "$native/target" \
    --output-dir "$fresh" --dts "$1.d.ts")
  # A running daemon has the old file mapped: replace it, never write into it.
  cp "$fresh/index.node" "$native/$1/$1.node.new"
  mv "$native/$1/$1.node.new" "$native/$1/$1.node"
  [ ! -e "$fresh/$1.d.ts" ] || cp "$fresh/$1.d.ts" "$native/$1/$1.d.ts"
}

main "$@"
