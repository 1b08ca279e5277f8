#!/bin/sh
# Makes a container image without a registry: deploy/image/build.sh [OUT.tar] writes an OCI archive (default
# .cache/image/shellstream.tar) and leaves the root file system beside it, in OUT.root/.
#
# In it are the C and C++ runtimes and base-files as this host's apt has them, Node from node_modules, and the npm package
# with the dependencies that package-lock.json pins. No shell, no package manager: what is taken over finds little to use.
# Needs a Debian with network to its mirrors, and deploy/setup.sh run before. Takes no root.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
PATH=$root/node_modules/.bin:$PATH
out=${1:-.cache/image/shellstream.tar}
tree=${out%.tar}.root
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

packages='base-files libc6 libgcc-s1 libstdc++6'
# Which is the user of the command line; a gateway is root, with three capabilities and no others.
user=65532

main() {
  rm -rf "$tree" "$out"
  mkdir -p "$tree"
  debian
  users
  program
  archive
  printf '%s: %s MB, %s MB unpacked\n' "$out" "$(megabytes "$out")" "$(megabytes "$tree")"
}

megabytes() { du -sm --apparent-size "$1" | cut -f1; }

debian() {
  for folder in bin sbin lib lib64; do
    mkdir -p "$tree/usr/$folder"
    ln -s "usr/$folder" "$tree/$folder"
  done
  # shellcheck disable=SC2086
  (cd "$work" && apt-get -q download $packages >apt.log 2>&1) || { cat "$work/apt.log" >&2; exit 1; }
  # Where scanners look for what an image without dpkg was made of.
  mkdir -p "$tree/var/lib/dpkg/status.d"
  for package in "$work"/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x --keep-directory-symlink -C "$tree"
    dpkg-deb --field "$package" >"$tree/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
  done
  find "$tree/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "$tree/usr/share/locale" "$tree/usr/share/lintian" "$tree/usr/lib/x86_64-linux-gnu/gconv"
}

users() {
  printf 'root:x:0:0:root:/:/\nshellstream:x:%s:%s::/:/\n' "$user" "$user" >"$tree/etc/passwd"
  printf 'root:x:0:\nshellstream:x:%s:\n' "$user" >"$tree/etc/group"
  echo 'hosts: files dns' >"$tree/etc/nsswitch.conf"
  mkdir -p "$tree/etc/shellstream" "$tree/sys/fs/bpf"
  mkdir -m 0700 -p "$tree/var/lib/shellstream" "$tree/run/shellstream"
  mkdir -m 1777 -p "$tree/tmp"
  # The packages' own scripts, which do not run here, would have done it.
  rm -rf "$tree/var/run"
  ln -s ../run "$tree/var/run"
}

program() {
  npm pack --silent --pack-destination "$work" >/dev/null
  home=$tree/usr/lib/shellstream
  mkdir -p "$home"
  tar -xzf "$work"/shellstream-*.tgz --strip-components=1 -C "$home"
  cp package-lock.json "$home/"
  (cd "$home" && npm ci --omit=dev --ignore-scripts --no-audit --no-fund --silent --prefer-offline)
  install -m 0755 node_modules/node/bin/node "$tree/usr/bin/node"
  ln -s ../lib/shellstream/bin/shellstream.js "$tree/usr/bin/shellstream"
}

# The same bytes for the same sources: a layer's digest says what is in it.
archive() {
  epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
  tar -c --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=go-w \
    -C "$tree" -f "$work/layer.tar" .
  node deploy/image/archive.ts "$work/layer.tar" "$epoch" "$user" "$out"
}

main
