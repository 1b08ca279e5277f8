#!/bin/sh
# On the root: what an init of Debian would have mounted, then main.ts, as the one child of process 1.
. /run/tier/settings
PATH=$REPOSITORY/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/run/tier/home TMPDIR=/run/tier/tmp CI=true SHELLSTREAM_PATIENCE=8
# An emulated processor takes half a minute to strip the types of a gateway. So the build is run, and what is run from
# sources all the same is compiled once.
SHELLSTREAM_PROGRAM=$REPOSITORY/dist/src/roots/shellstream.js
NODE_COMPILE_CACHE=/run/tier/compiled
export PATH HOME TMPDIR CI SHELLSTREAM_PATIENCE SHELLSTREAM_PROGRAM NODE_COMPILE_CACHE
mkdir -p "$HOME" "$TMPDIR" /run/netns /run/lock "/lib/modules/$(uname -r)"
mount --bind "$KERNEL_ROOT/lib/modules/$(uname -r)" "/lib/modules/$(uname -r)"
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
ip link set lo up
for module in tun veth wireguard; do modprobe "$module" || echo "start: modprobe $module"; done
stty -F /dev/ttyS1 raw -echo
cd "$REPOSITORY" || exit
rm -rf dist && cp -r .cache/kernel-tier-build dist
# What is killed leaves nothing in that cache, and in tests most are.
"$NODE" src/dataplane/linux/index.ts
"$NODE" test/kernel-tier/guest/main.ts
echo "start: main.ts ended with code $?"
sync
poweroff -f
