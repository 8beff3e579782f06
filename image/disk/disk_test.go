package disk

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	testPermOffset = 3 << 20
	testPermLen    = 16 << 20
)

var testTime = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newImage makes a disk image with nothing but a partition table, in which only /perm is.
func newImage(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, table(permPartition, testPermOffset, testPermLen), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, testPermOffset+testPermLen); err != nil {
		t.Fatal(err)
	}
	return path
}

// table makes the start of a disk: the header and the entries of a partition table with one partition, in octets.
func table(number int, offset, size uint64) []byte {
	const entriesSector, entryLen = 2, 128
	text := make([]byte, (entriesSector+1)*sectorLen)
	header, entry := text[sectorLen:], text[entriesSector*sectorLen+(number-1)*entryLen:]
	copy(header, gptMagic)
	binary.LittleEndian.PutUint64(header[gptEntries:], entriesSector)
	binary.LittleEndian.PutUint32(header[gptEntryCount:], 4)
	binary.LittleEndian.PutUint32(header[gptEntryLen:], entryLen)
	binary.LittleEndian.PutUint64(entry[gptEntryFirst:], offset/sectorLen)
	binary.LittleEndian.PutUint64(entry[gptEntryLast:], (offset+size)/sectorLen-1)
	return text
}

func needTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"mke2fs", "e2fsck", "debugfs"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

func TestPerm(t *testing.T) {
	needTools(t)
	image, seed := newImage(t), t.TempDir()
	if err := os.Mkdir(filepath.Join(seed, "tandem6"), 0o700); err != nil {
		t.Fatal(err)
	}
	want := []byte("{} // a configuration\n")
	if err := os.WriteFile(filepath.Join(seed, "tandem6", "config.json"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := FormatPerm(image, seed, testTime); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.img")
	if err := Copy(copied, image); err != nil {
		t.Fatal(err)
	}
	fileSystem := filepath.Join(t.TempDir(), "perm")
	if err := ExtractPerm(fileSystem, copied); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(fileSystem, "tandem6/config.json"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back %q, %v; want %q", got, err, want)
	}
	if text, err := ReadFile(fileSystem, "tandem6/leases.db"); err == nil {
		t.Errorf("read %q from a file that is not there", text)
	}
}

// TestPermStaysInside has a file system fill its partition and nothing else.
func TestPermStaysInside(t *testing.T) {
	needTools(t)
	image := newImage(t)
	before := readAll(t, image)[:testPermOffset]
	if err := FormatPerm(image, "", testTime); err != nil {
		t.Fatal(err)
	}
	after := readAll(t, image)
	if len(after) != testPermOffset+testPermLen || !bytes.Equal(after[:testPermOffset], before) {
		t.Error("making /perm has changed the disk around it")
	}
}

// TestPermTwice shows that the same content gives the same octets, and that the clock has no part in them.
func TestPermTwice(t *testing.T) {
	needTools(t)
	first, second := newImage(t), newImage(t)
	for _, image := range []string{first, second} {
		if err := FormatPerm(image, "", testTime); err != nil {
			t.Fatal(err)
		}
	}
	text := readAll(t, first)
	if !bytes.Equal(text, readAll(t, second)) {
		t.Error("two empty /perm differ")
	}
	// The superblock begins 1024 octets into the file system, and s_mkfs_time is at 0x108 in it (ext4(5)).
	if made := binary.LittleEndian.Uint32(text[testPermOffset+1024+0x108:]); int64(made) != testTime.Unix() {
		t.Errorf("made at %d, want %d", made, testTime.Unix())
	}
}

func TestDamagedPermIsFound(t *testing.T) {
	needTools(t)
	image := newImage(t)
	if err := FormatPerm(image, "", testTime); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const groupDescriptors = testPermOffset + blockLen
	if _, err := f.WriteAt(bytes.Repeat([]byte{0xff}, blockLen), groupDescriptors); err != nil {
		t.Fatal(err)
	}
	if err := ExtractPerm(filepath.Join(t.TempDir(), "perm"), image); err == nil {
		t.Error("no error for a file system without group descriptors")
	}
}

func TestNoPerm(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, want string
		text       []byte
	}{
		{"empty", "no GUID partition table", nil},
		{"zeros", "no GUID partition table", make([]byte, 1<<20)},
		{"another partition", "no partition 4", table(3, testPermOffset, testPermLen)},
		{"cut short", "not inside the disk", table(4, testPermOffset, testPermLen)},
		{"cut before the entries", "partition table: ", table(4, testPermOffset, testPermLen)[:2*sectorLen]},
	} {
		path := filepath.Join(dir, test.name)
		if err := os.WriteFile(path, test.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := FormatPerm(path, "", testTime); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want one with %q", test.name, err, test.want)
		}
	}
}

// FuzzFindPartition: whatever a partition table says, what is found has a size, and its end can be computed.
func FuzzFindPartition(f *testing.F) {
	f.Add(table(4, testPermOffset, testPermLen), uint32(4))
	f.Add(table(4, 1<<57, 1<<57), uint32(4))
	f.Add([]byte{}, uint32(0))
	f.Fuzz(func(t *testing.T, text []byte, number uint32) {
		offset, size, err := findPartition(bytes.NewReader(text), number)
		if err == nil && (offset < sectorLen || size < sectorLen || offset+size < offset) {
			t.Errorf("partition %d: %d octets at %d", number, size, offset)
		}
	})
}

func readAll(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
