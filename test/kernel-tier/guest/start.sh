#!/bin/sh
# On the root: what an init of Debian would have mounted, then main.ts, as the one child of process 1.
. /run/tier/settings
PATH=$REPOSITORY/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
HOME=/run/tier/home TMPDIR=/run/tier/tmp CI=true SHELLSTREAM_PATIENCE=8
# Compiling TypeScript takes half a minute on an emulated processor; once is enough.
NODE_COMPILE_CACHE=/run/tier/compiled
export PATH HOME TMPDIR CI SHELLSTREAM_PATIENCE NODE_COMPILE_CACHE
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
"$NODE" test/kernel-tier/guest/main.ts
echo "start: main.ts ended with code $?"
sync
poweroff -f
