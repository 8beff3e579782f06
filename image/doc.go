// Package image holds what the appliance's image is made of, and tests of the booted image.
//
// The image is a gokrazy system: a kernel, gokrazy's init, and our own programs, nothing else. Its disk has four partitions: one to
// boot from, two for the read-only root (one in use, one for the next version), and /perm, an ext4 file system that holds the
// configuration and the leases and is kept over updates.
//
// This is a module of its own, so that the kernels and the tool that packs them stay out of the product's module. Everything
// that goes into an image is pinned here: by go.mod, by go.sum and by deps.go. A test holds that both modules choose the same
// version of whatever the product's programs are built from.
//
//   - ARCH/config.json says what gokrazy puts on the image and how it starts it.
//   - pack builds the disk image, cmd/pack is its command line.
//   - disk makes, fills and checks /perm on a disk image, without root.
//   - qemu runs disk images as machines on virtual networks.
//   - cmd/run shows a running appliance with a client.
package image
