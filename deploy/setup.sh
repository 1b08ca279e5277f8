#!/bin/sh
# Makes this checkout ready to run. `npm test`, `npm run demo` and `npm run bench` call it first, so it must cost next
# to nothing when there is nothing to do: every part is stamped with a hash of what it was made from.
# Speaks on stderr only: stdout belongs to the command that follows. Full logs are in .cache/setup/.
# Exit code 0: all that this host allows is there, and what it does not allow has been said. 1: something broke.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
logs=.cache/setup
mkdir -p "$logs"

packages='clang-14 llvm-14 libbpf-dev linux-libc-dev bpftool wireguard-tools tcpdump iproute2 iputils-ping
  nftables netcat-openbsd curl procps e2fsprogs build-essential pkg-config ca-certificates systemd
  qemu-system-x86 kmod busybox-static cpio bubblewrap ansible-core'

main() {
  began=$(date +%s)
  changed=0
  lacking=0
  take_lock
  find_toolchains
  debian_packages
  node_packages
  protobuf
  for part in bpf crypto kernel sandbox; do native "$part"; done
  privileges
  if [ "$changed" -eq 0 ]; then summary='nothing to do'; else summary="ready after $(($(date +%s) - began)) s"; fi
  [ "$lacking" -eq 0 ] || summary="$summary, with $lacking thing(s) missing as said above"
  say "$summary"
}

say() { printf 'setup: %s\n' "$*" >&2; }

# What this host cannot give, and what will not work for it. The tests skip it by name, and fail where CI is set.
lack() {
  lacking=$((lacking + 1))
  say "MISSING $*"
}

die() {
  say "FAILED $*"
  exit 1
}

# Two set-ups in one checkout would remove each other's node_modules.
take_lock() {
  command -v flock >/dev/null 2>&1 || return 0
  exec 9>.cache/setup.lock
  flock -n 9 && return 0
  say 'another set-up runs in this checkout: waiting for it'
  flock 9
}

# npm must not run on the node of the node_modules that it is about to replace: `npm run` puts that one first.
find_toolchains() {
  host_path=$(printf '%s' "$PATH" | tr ':' '\n' | grep -vxF "$root/node_modules/.bin" | paste -sd: -)
  for folder in "${CARGO_HOME:-${HOME:-/root}/.cargo}/bin" /usr/local/go/bin; do
    case ":$host_path:" in
      *":$folder:"*) ;;
      *) [ ! -d "$folder" ] || host_path="$host_path:$folder" ;;
    esac
  done
  PATH="$root/node_modules/.bin:$host_path"
  export PATH
}

is_root() { [ "$(id -u)" -eq 0 ]; }

# step LOG TITLE COMMAND...: runs it with its output in the log. Says nothing of what took no time and found nothing to do;
# shows a sign of life every ten seconds of what takes long, and the end of the log of what fails.
step() {
  log=$logs/$1.log
  title=$2
  shift 2
  step_began=$(date +%s)
  heartbeat "$title" "$log" 9>&- &
  watcher=$!
  trap 'kill "$watcher" 2>/dev/null || :' EXIT
  trap 'exit 130' INT TERM
  status=0
  "$@" >"$log" 2>&1 9>&- || status=$?
  kill "$watcher" 2>/dev/null || :
  wait "$watcher" 2>/dev/null || :
  trap - EXIT INT TERM
  if [ "$status" -ne 0 ]; then
    tail -n 40 "$log" >&2
    say "$title: failed with code $status after $(($(date +%s) - step_began)) s; all of its output is in $log"
    return 1
  fi
  if tail -n 1 "$log" | grep -q 'is up to date$'; then return 0; fi
  changed=1
  say "$title: done in $(($(date +%s) - step_began)) s"
}

heartbeat() {
  # The nap has no stderr of ours: as an orphan it would keep a caller's pipe open.
  trap 'kill "$nap" 2>/dev/null || :; exit 0' TERM
  seconds=1
  pause=1
  last=
  while :; do
    sleep "$pause" >/dev/null 2>&1 &
    nap=$!
    wait "$nap"
    [ "$seconds" -eq 1 ] || last=": $(tail -n 1 "$2" 2>/dev/null | tr -d '\r\033' | cut -c1-100)"
    say "$1 ... $seconds s$last"
    pause=$((10 - seconds % 10))
    seconds=$((seconds + pause))
  done
}

# is_current STAMP HASH / mark STAMP HASH
is_current() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }
mark() { printf '%s\n' "$2" >"$1"; }
hash_of() { sha256sum "$@" | sha256sum | cut -d' ' -f1; }

debian_packages() {
  if ! command -v dpkg-query >/dev/null 2>&1; then
    lack 'this is no Debian, so its packages cannot be checked; wanted are:' $packages
    return 0
  fi
  wanted=$packages
  (PATH=$host_path && command -v node && command -v npm) >/dev/null 2>&1 || wanted="$wanted nodejs npm"
  # shellcheck disable=SC2086
  have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $wanted 2>/dev/null | sed -n 's/^installed //p')
  absent=
  for package in $wanted; do
    printf '%s\n' "$have" | grep -qxF "$package" || absent="$absent $package"
  done
  [ -n "$absent" ] || return 0
  if ! is_root; then
    lack "Debian packages (installing them takes root):$absent"
    return 0
  fi
  # shellcheck disable=SC2086
  step apt "Debian packages:$absent" install_debian $absent || die 'Debian packages could not be installed'
}

install_debian() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update && apt-get -q -y --no-install-recommends install "$@" </dev/null
}

node_packages() {
  command -v npm >/dev/null 2>&1 || die 'there is no npm: install Node 20 or later, or run this once as root'
  stamp=node_modules/.shellstream-lock
  hash=$(hash_of package-lock.json)
  if is_current "$stamp" "$hash"; then return 0; fi
  # After `npm install` by hand the tree is right already; replacing it would pull it from under running programs.
  if ! installed_as_locked; then
    step npm 'npm ci' env PATH="$host_path" npm ci --no-audit --no-fund --prefer-offline ||
      die 'the npm packages could not be installed'
  fi
  node_modules/.bin/node --version >/dev/null || die "the project's own node does not run: node_modules/.bin/node"
  mark "$stamp" "$hash"
}

installed_as_locked() {
  [ -f node_modules/.package-lock.json ] && [ -x node_modules/.bin/node ] && node_modules/.bin/node -e '
    const read = (path) => JSON.parse(require("node:fs").readFileSync(path, "utf8")).packages;
    const [locked, installed] = [read("package-lock.json"), read("node_modules/.package-lock.json")];
    const same = ([path, entry]) => path === "" || (installed[path] ? installed[path].version === entry.version : entry.optional);
    process.exit(Object.entries(locked).every(same) ? 0 : 1);'
}

protobuf() {
  generator="node_modules/@bufbuild/buf/package.json node_modules/@bufbuild/protoc-gen-es/package.json"
  # shellcheck disable=SC2046,SC2086
  hash=$(hash_of $generator $(find protocol/schema -type f | LC_ALL=C sort))
  if is_current protocol/gen/.stamp "$hash"; then return 0; fi
  step protobuf 'protobuf code' generate_protobuf || die 'the protobuf code could not be generated'
  mark protocol/gen/.stamp "$hash"
}

# Made aside and moved: a failed run leaves what was there, a message that is gone from the schema leaves no file behind.
generate_protobuf() {
  rm -rf .cache/generated
  buf generate --template protocol/schema/buf.gen.yaml --output .cache/generated || return 1
  rm -rf protocol/gen
  mv .cache/generated/protocol/gen protocol/gen
}

# native/build.sh keeps its own stamps; asking it costs a few hundredths of a second.
native() {
  case $1 in
    bpf)
      tool=clang-14
      title='eBPF objects'
      without='eBPF objects: nothing can be enforced, so the demo and the system tests cannot run'
      get='it is the Debian package clang-14'
      ;;
    *)
      tool=cargo
      title="native addon $1 (minutes the first time)"
      if ! command -v cargo >/dev/null 2>&1 && [ -e "native/$1/$1.node" ]; then
        say "native addon $1 stays as it is: there is no cargo to rebuild it with"
        return 0
      fi
      without="native addon $1: $(without_addon "$1")"
      get='get Rust from https://rustup.rs; what Debian has is too old'
      ;;
  esac
  if ! command -v "$tool" >/dev/null 2>&1; then
    lack "$without; there is no $tool here: $get"
    return 0
  fi
  step "native-$1" "$title" sh native/build.sh "$1" || die "$title: not built"
}

without_addon() {
  case $1 in
    crypto) echo 'the handshake falls back on node:crypto, about seven times slower' ;;
    sandbox) echo 'terminators cannot confine themselves, and do not start' ;;
    kernel) echo 'no WireGuard, no eBPF, no routes: the demo and the system tests cannot run' ;;
  esac
}

privileges() {
  is_root || lack 'root: no network namespaces, eBPF or tunnels, so the demo and the system tests that need them cannot run'
  command -v go >/dev/null 2>&1 || lack 'Go 1.25 or later: no cross-check against go-spiffe, flynn/noise and go-plugin'
}

main
