#!/bin/sh
# Boots systemd as process 1 of namespaces of its own, on a copy-on-write view of this host's root, so that a unit runs as
# it would on a host that systemd runs, and nothing of it stays:
#
#   boot-systemd.sh DIRECTORY REPOSITORY NODE
#
# DIRECTORY/install.sh runs inside before systemd does; what lies in DIRECTORY is seen inside at its own path. The checkout
# is /opt/shellstream there, and NODE is node. Ends, with all that was started, on SIGTERM.
set -eu
directory=$1
repository=$2
node=$3
root=$directory/root
layers=$directory/layers

case ${4:-outside} in
  outside) exec unshare --mount --propagation private sh "$0" "$directory" "$repository" "$node" own-cgroup ;;

  # systemd rules the control groups below its own: it gets one that goes with it.
  own-cgroup)
    groups=$directory/groups
    own=$groups/shellstream-test-$$
    mkdir -p "$groups" "$root" "$layers"
    mount -t cgroup2 cgroup "$groups"
    mkdir "$own"
    echo $$ >"$own/cgroup.procs"
    unshare --cgroup --mount --pid --fork --kill-child --ipc --uts --net --propagation private \
      sh "$0" "$directory" "$repository" "$node" inside &
    system=$!
    trap 'kill -9 "$system"' TERM
    wait "$system" || :
    wait "$system" 2>/dev/null || :
    echo $$ >"$groups/cgroup.procs"
    # What was killed may take a moment to leave.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      find "$own" -depth -type d -exec rmdir {} + 2>/dev/null && break
      sleep 0.1
    done
    exit 0
    ;;
esac

mount -t tmpfs layers "$layers"
mkdir "$layers/upper" "$layers/work"
mount -t overlay view -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$root"
cd "$root"

mount -t proc proc proc
# The kernel is the host's: systemd must not tune it.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup sys/fs/cgroup
# As systemd mounts it on a host.
mount -t bpf bpf sys/fs/bpf -o mode=0700
mount -t tmpfs run run -o mode=0755
mount -t tmpfs tmp tmp -o mode=1777
mount -t tmpfs dev dev -o mode=0755
mkdir -p dev/net dev/pts dev/shm
# PrivateDevices= looks for it.
ln -s pts/ptmx dev/ptmx
for device in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0' 'net/tun 10 200'; do
  # shellcheck disable=SC2086
  set -- $device
  mknod -m 666 "dev/$1" c "$2" "$3"
done
ln -s /proc/self/fd dev/fd

mkdir -p opt/shellstream ".$directory"
mount --bind "$repository" opt/shellstream
mount --bind "$directory" ".$directory"
touch usr/local/bin/node
mount --bind "$node" usr/local/bin/node
ln -sf /opt/shellstream/bin/shellstream.js usr/local/bin/shellstream

# Of the units, only what the test installs: the host's own would run a second time.
rm -rf etc/systemd/system usr/lib/systemd/system/*.wants etc/shellstream var/lib/shellstream
mkdir -p etc/systemd/system
: >etc/fstab
ip link set lo up

mkdir -p former
pivot_root . former
umount -l /former
cd /
sh -eu "$directory/install.sh"
exec env -i container=shellstream-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=multi-user.target --show-status=no --log-target=null
