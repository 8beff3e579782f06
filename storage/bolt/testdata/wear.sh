#!/bin/sh
# wear.sh: what a changed lease costs the block device, by the device's own counter.
#
# Makes an ext4 file system on a loop device, in a mount namespace of its own, and
# runs BenchmarkCommit on it, short and long; the difference is the cost of the
# leases in between, without folds (BenchmarkWear has them). Needs root. Run it
# in the directory storage/bolt.
set -eu
[ "${1-}" = inside ] || exec unshare --mount "$0" inside

dir=$(mktemp -d)
dev=
trap 'umount "$dir/mnt" || true; [ -z "$dev" ] || losetup -d "$dev"; rm -rf "$dir"' EXIT
go test -c -o "$dir/bolt.test" .
truncate -s 1G "$dir/image"
mkfs.ext4 -q "$dir/image"
dev=$(losetup --find --show "$dir/image")
mkdir "$dir/mnt"
mount "$dev" "$dir/mnt"

written() { # octets, after everything has reached the device
	sync
	awk '{ printf "%.0f", $7 * 512 }' "/sys/block/${dev##*/}/stat"
}
measure() { # benchmark, iterations
	before=$(written)
	TMPDIR="$dir/mnt" "$dir/bolt.test" -test.run '^$' -test.bench "$1" -test.benchtime "$2x" >"$dir/log"
	echo $(($(written) - before))
}
for size in 1 10 100; do
	for kind in plain journal; do
		short=$(measure "Commit/$kind/batch=$size\$" 200)
		long=$(measure "Commit/$kind/batch=$size\$" 1200)
		echo "$kind, batches of $size: $(((long - short) / (1000 * size))) octets on the device per lease"
	done
done
