#!/bin/bash
# systemd as process 1 of namespaces of its own, over an overlay of this machine's root.
#   systemd_machine.sh NAME SHARED NEEDED...
# NAME: control group of the machine below each hierarchy. SHARED: a directory that it shares
# with this machine. Everything else it writes is in memory and goes with it. NEEDED: more
# directories that it sees as they are: below /tmp, or on other file systems, it has its own.
set -eu
name=$1 shared=$2
shift 2
work=$shared/machine
mkdir -p "$work"
controllers=""
for controller in memory cpu cpuacct pids devices systemd unified; do
    mount=/sys/fs/cgroup/$controller
    [ -e "$mount/cgroup.procs" ] || continue
    mkdir -p "$mount/$name"
    echo $$ > "$mount/$name/cgroup.procs"
    controllers="$controllers $controller"
done
exec unshare --mount --pid --fork --kill-child --uts --ipc --net --cgroup --propagation private \
    bash -euc '
shared=$1 work=$2 controllers=$3
shift 3
mount -t tmpfs tmpfs "$work"
mkdir "$work"/{upper,work,root}
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/upper,workdir=$work/work" "$work/root"
root=$work/root
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for device in null zero full random urandom tty; do
    touch "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
ln -s /proc/self/fd "$root/dev/fd"
touch "$shared/console" "$root/dev/console"
mount --bind "$shared/console" "$root/dev/console"
mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
for controller in $controllers; do
    mkdir "$root/sys/fs/cgroup/$controller"
    case $controller in
        unified) mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified" ;;
        systemd) mount -t cgroup -o none,name=systemd cgroup "$root/sys/fs/cgroup/systemd" ;;
        *) mount -t cgroup -o "$controller" cgroup "$root/sys/fs/cgroup/$controller" ;;
    esac
done
for directory in "$@" "$shared"; do
    mkdir -p "$root$directory"
    mount --bind "$directory" "$root$directory"
done
printf "b%.0s" $(seq 32) > "$root/etc/machine-id"
for unit in systemd-firstboot.service systemd-timesyncd.service systemd-udevd.service \
    systemd-udev-trigger.service systemd-networkd-wait-online.service apt-daily.timer \
    apt-daily-upgrade.timer ssh.service networking.service dev-ttyS0.device; do
    ln -sfn /dev/null "$root/etc/systemd/system/$unit"
done
cd "$root"
pivot_root . mnt
umount -l mnt
exec env -i container=enarx-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system systemd.log_target=console \
    systemd.mask=getty.target systemd.mask=console-getty.service
' machine "$shared" "$work" "$controllers" "$@"
