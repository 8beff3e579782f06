// Package disk works on images of the appliance's disk: it makes, fills, checks and reads /perm, the partition that holds the
// configuration and the leases. It needs e2fsprogs, but neither root nor loop devices.
package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// permPartition is the number of /perm in the partition table that gokrazy writes.
	permPartition = 4
	// blockLen is the block size of /perm, in octets: that of the pages in which flash is written.
	blockLen = 4096
	// The identifiers of /perm are fixed, so that two builds give the same image. Nothing looks for a file system by them.
	permUUID     = "74616e64-656d-4600-8000-000000000004"
	permHashSeed = "74616e64-656d-4600-8000-000000000005"
	// permFeatures are those of mke2fs for ext4, named here so that the building machine's mke2fs.conf has no say.
	permFeatures = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,metadata_csum,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
)

// Copy makes an independent copy of a disk image. Holes stay holes: a copy takes as much space as there is data.
func Copy(to, from string) error {
	return run(exec.Command("cp", "--sparse=always", "--reflink=auto", "--", from, to))
}

// FormatPerm makes an ext4 file system on the /perm partition of an image and copies the files below the folder seed to it. What
// was on /perm before is gone. An empty seed leaves /perm empty. The file system says that it was made at the given time.
func FormatPerm(image, seed string, at time.Time) error {
	offset, size, err := perm(image)
	if err != nil {
		return err
	}
	args := []string{"-q", "-F", "-t", "ext4", "-b", fmt.Sprint(blockLen), "-I", "256", "-i", "16384", "-L", "perm", "-O", permFeatures, "-U", permUUID,
		"-E", fmt.Sprintf("offset=%d,hash_seed=%s,root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0", offset, permHashSeed)}
	if seed != "" {
		args = append(args, "-d", seed)
	}
	cmd := exec.Command("mke2fs", append(args, image, fmt.Sprintf("%dk", size/blockLen*blockLen/1024))...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", at.Unix()))
	if err := run(cmd); err != nil {
		return fmt.Errorf("cannot make /perm on %s: %w", image, err)
	}
	return nil
}

// ExtractPerm copies /perm out of an image to a file of its own, replays its journal there, as mounting it would, and checks the whole
// file system. The error tells what is wrong with it.
func ExtractPerm(to, image string) error {
	offset, size, err := perm(image)
	if err != nil {
		return err
	}
	cut := exec.Command("dd", "if="+image, "of="+to, "bs=1M", "iflag=skip_bytes,count_bytes", "conv=sparse", "status=none",
		fmt.Sprintf("skip=%d", offset), fmt.Sprintf("count=%d", size))
	if err := run(cut); err != nil {
		return err
	}
	if err := run(exec.Command("e2fsck", "-E", "journal_only", "-p", to)); err != nil {
		return fmt.Errorf("cannot replay the journal of /perm of %s: %w", image, err)
	}
	if err := run(exec.Command("e2fsck", "-f", "-n", to)); err != nil {
		return fmt.Errorf("/perm of %s is damaged: %w", image, err)
	}
	return nil
}

// ReadFile returns a file in a file system that [ExtractPerm] has extracted, by its path.
func ReadFile(fileSystem, path string) ([]byte, error) {
	cmd := exec.Command("debugfs", "-R", fmt.Sprintf("cat %q", path), fileSystem)
	var text, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &problem
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("debugfs: %w: %s", err, problem.String())
	}
	// debugfs ends well whatever happened, and always writes its version to standard error; complaints follow in further lines.
	if _, complaint, _ := strings.Cut(strings.TrimSpace(problem.String()), "\n"); complaint != "" {
		return nil, fmt.Errorf("%s on %s: %s", path, fileSystem, complaint)
	}
	return text.Bytes(), nil
}

// perm finds /perm in the partition table of an image. Offset and size are in octets.
func perm(image string) (offset, size int64, err error) {
	f, err := os.Open(image)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	offset, size, err = findPartition(f, permPartition)
	if err == nil && (size < blockLen || offset > info.Size()-size) {
		err = fmt.Errorf("partition %d, %d octets at %d, is not inside the disk of %d octets", permPartition, size, offset, info.Size())
	}
	if err != nil {
		return 0, 0, fmt.Errorf("disk image %s: %w", image, err)
	}
	return offset, size, nil
}

// The layout of a GUID partition table, by the UEFI specification 2.10, section 5.3: a header in the second sector, and an array of
// entries where the header says.
const (
	sectorLen      = 512
	gptMagic       = "EFI PART"
	gptEntries     = 72 // in the header: sector of the first entry, 8 octets
	gptEntryCount  = 80 // in the header: 4 octets
	gptEntryLen    = 84 // in the header: 4 octets
	gptEntryFirst  = 32 // in an entry: first sector, 8 octets
	gptEntryLast   = 40 // in an entry: last sector, 8 octets
	gptEntryLenMin = 128
	// sectorMax keeps octets within 63 bits, so that no sum here can overflow.
	sectorMax = 1 << 48
)

var errNoPartitionTable = errors.New("no GUID partition table")

// findPartition returns where a partition is, by its number from 1. Offset and size are in octets.
func findPartition(disk io.ReaderAt, number uint32) (offset, size int64, err error) {
	header := make([]byte, sectorLen)
	if _, err := disk.ReadAt(header, sectorLen); err != nil || !bytes.HasPrefix(header, []byte(gptMagic)) {
		return 0, 0, errNoPartitionTable
	}
	entries := binary.LittleEndian.Uint64(header[gptEntries:])
	count := binary.LittleEndian.Uint32(header[gptEntryCount:])
	entryLen := binary.LittleEndian.Uint32(header[gptEntryLen:])
	if number == 0 || number > count || entryLen < gptEntryLenMin || entryLen > sectorLen || entries > sectorMax {
		return 0, 0, fmt.Errorf("the partition table has no partition %d", number)
	}
	entry := make([]byte, gptEntryLenMin)
	if _, err := disk.ReadAt(entry, int64(entries)*sectorLen+int64(number-1)*int64(entryLen)); err != nil {
		return 0, 0, fmt.Errorf("partition table: %w", err)
	}
	first, last := binary.LittleEndian.Uint64(entry[gptEntryFirst:]), binary.LittleEndian.Uint64(entry[gptEntryLast:])
	if first == 0 || last < first || last > sectorMax {
		return 0, 0, fmt.Errorf("the partition table has no partition %d", number)
	}
	return int64(first) * sectorLen, int64(last-first+1) * sectorLen, nil
}

// run runs a command; the error holds all that it wrote.
func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
