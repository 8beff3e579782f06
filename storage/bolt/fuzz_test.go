package bolt

import (
	"bytes"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/tandem6/tandem6/storage"
	"github.com/tandem6/tandem6/storage/storagetest"
)

// FuzzOpen spoils a file in many places at once. Each four octets of edits are
// one: three of offset, one to combine with what is there. The checksums of the
// meta pages are made right again, so that the fuzzer gets past them. A file that
// is refused stays as it is; one that is not must serve.
func FuzzOpen(f *testing.F) {
	image, _, _ := busyFile(f)
	f.Add([]byte{}, len(image))
	f.Add([]byte{0, 0, 32, 1}, len(image))                    // a page number in the meta
	f.Add([]byte{0, 0x20, 10, 1, 0, 0x30, 10, 2}, len(image)) // counts of elements
	f.Add([]byte{}, 3*pageSize)
	f.Fuzz(func(t *testing.T, edits []byte, size int) {
		if size < 0 || size > len(image) {
			size = len(image)
		}
		spoiled := bytes.Clone(image[:size])
		for ; len(edits) >= 4 && size > 0; edits = edits[4:] {
			spoiled[(int(edits[0])<<16|int(edits[1])<<8|int(edits[2]))%size] ^= edits[3]
		}
		for at := pageHeaderLen; at < 2*pageSize && at+metaLen <= size; at += pageSize {
			sum := fnv.New64a()
			sum.Write(spoiled[at : at+checksumAt])
			order.PutUint64(spoiled[at+checksumAt:], sum.Sum64())
		}
		path := filepath.Join(t.TempDir(), "leases.db")
		if err := os.WriteFile(path, spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open(path, 1, tinyLimits)
		var content storagetest.Content
		if err == nil {
			defer s.Close()
			content, err = storagetest.Read(s)
		}
		if err != nil {
			var d *storage.DamagedError
			if !errors.As(err, &d) {
				t.Fatalf("%v, want a DamagedError", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, spoiled) {
				t.Fatalf("a refused file was changed (%v)", err)
			}
			return
		}
		s.db.NoSync, s.db.NoGrowSync = true, true
		r := rand.New(rand.NewPCG(1, 1))
		for range 5 {
			b := storagetest.RandomBatch(r, 50, 200)
			mustCommit(t, s, b)
			content.Apply(b)
		}
		mustHold(t, s, content)
		checkBolt(t, s)
	})
}
