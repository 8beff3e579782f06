package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func sampleBatch() *Batch {
	b := new(Batch)
	for i := range samples {
		b.Put(&samples[i])
	}
	b.Delete(netip.MustParsePrefix("2001:db8::/48"))
	b.Put(&samples[0])
	b.Set(ServerDUID, []byte{0, 4, 1, 2, 3})
	b.Set("empty", []byte{})
	b.Set("removed", nil)
	return b
}

func TestBatch(t *testing.T) {
	for name, b := range map[string]*Batch{"all": sampleBatch(), "empty": new(Batch)} {
		entry := AppendBatch([]byte("before"), 42, b)
		entry, ok := bytes.CutPrefix(entry, []byte("before"))
		if !ok {
			t.Fatal("AppendBatch does not append")
		}
		got, err := ParseBatch(42, entry)
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Errorf("%s: ParseBatch = %+v, %v, want %+v", name, got, err, b)
		}
		if again := AppendBatch(nil, 42, got); !bytes.Equal(again, entry) {
			t.Errorf("%s: appended again it is %x, was %x", name, again, entry)
		}
		if _, err := ParseBatch(43, entry); err == nil {
			t.Errorf("%s: accepted with the number of another batch", name)
		}
	}
}

// Whatever happens to an entry is found out: each bit, each cut.
func TestBatchDamaged(t *testing.T) {
	entry := AppendBatch(nil, 1, sampleBatch())
	for i := range entry {
		if _, err := ParseBatch(1, entry[:i]); err == nil {
			t.Errorf("accepted when cut off at %d", i)
		}
		for bit := range 8 {
			entry[i] ^= 1 << bit
			if _, err := ParseBatch(1, entry); err == nil {
				t.Errorf("accepted with bit %d of octet %d flipped", bit, i)
			}
			entry[i] ^= 1 << bit
		}
	}
	if _, err := ParseBatch(1, entry); err != nil {
		t.Error(err)
	}
}

// resealed is an entry with its CRC made right again.
func resealed(seq uint64, entry []byte) []byte {
	if len(entry) < batchOverhead {
		return entry
	}
	body := bytes.Clone(entry[:len(entry)-4])
	return binary.BigEndian.AppendUint32(body, batchChecksum(seq, body))
}

// Entries with a good CRC that AppendBatch would not write.
func TestBatchRefused(t *testing.T) {
	key := KeyOf(samples[0].Prefix)
	wrongKey := "\x20" + strings.Repeat("\x00", 15) + "\x81"
	for name, tt := range map[string]struct{ body, want string }{
		"version 0":                {"\x00\x00\x00", "version 0"},
		"version 2":                {"\x02\x00\x00", "newer version"},
		"changes missing":          {"\x01\x02\x00", "too early"},
		"more changes than fit":    {"\x01\xff\xff\xff\xff\x0f\x00", "allowed is up to"},
		"key of no prefix":         {"\x01\x01" + wrongKey + "\x00\x00", "not an IPv6 prefix"},
		"record of another":        {"\x01\x01" + string(key[:]) + "\x01\x01\x00", "damaged record"},
		"record cut off":           {"\x01\x01" + string(key[:]) + "\x10\x01\x00", "too early"},
		"value without a name":     {"\x01\x00\x01\x00\x01", "without a name"},
		"value too long":           {"\x01\x00\x01\x01n\xff\xff\xff\x0f", "allowed is up to"},
		"value cut off":            {"\x01\x00\x01\x01n\x05abc", "too early"},
		"octet too many":           {"\x01\x00\x00\x00", "too many"},
		"longer count than needed": {"\x01\x80\x00\x00", "longer than needed"},
	} {
		b, err := ParseBatch(7, resealed(7, []byte(tt.body+"CRC.")))
		if err == nil || !strings.Contains(err.Error(), tt.want) || b != nil {
			t.Errorf("%s: got %+v, %v, want %q", name, b, err, tt.want)
		}
		if newer := tt.want == "newer version"; errors.Is(err, ErrNewer) != newer {
			t.Errorf("%s: is ErrNewer: %v", name, !newer)
		}
	}
}

func TestScanBatchStops(t *testing.T) {
	entry := AppendBatch(nil, 1, sampleBatch())
	stop := errors.New("stop")
	ok := func(_, _ []byte) error { return nil }
	bad := func(_, _ []byte) error { return stop }
	if err := ScanBatch(1, entry, bad, ok); err != stop {
		t.Errorf("a failing callback for changes: %v", err)
	}
	if err := ScanBatch(1, entry, ok, bad); err != stop {
		t.Errorf("a failing callback for values: %v", err)
	}
}

// ParseBinding must reproduce its input, never panic and keep nothing of it.
func FuzzParseBinding(f *testing.F) {
	for _, b := range samples {
		k := KeyOf(b.Prefix)
		f.Add(k[:], AppendBinding(nil, &b))
	}
	f.Fuzz(func(t *testing.T, key, data []byte) {
		p, err := ParseKey(key)
		if err != nil {
			return
		}
		if k := KeyOf(p); !bytes.Equal(k[:], key) {
			t.Fatalf("key %x came back as %x", key, k)
		}
		b, err := ParseBinding(p, data)
		if err != nil {
			if b.Prefix.IsValid() {
				t.Fatalf("an error and a binding: %+v, %v", b, err)
			}
			return
		}
		if err := b.Check(); err != nil {
			t.Fatal(err)
		}
		if data[0] != bindingVersion {
			return
		}
		want := bytes.Clone(data)
		clear(data)
		if got := AppendBinding(nil, &b); !bytes.Equal(got, want) {
			t.Fatalf("%x came back as %x", want, got)
		}
	})
}

// ParseBatch must reproduce its input and never panic. The CRC is made right, so
// that the fuzzer gets past it.
func FuzzParseBatch(f *testing.F) {
	f.Add(uint64(1), AppendBatch(nil, 1, sampleBatch()))
	f.Add(uint64(2), AppendBatch(nil, 2, new(Batch)))
	f.Fuzz(func(t *testing.T, seq uint64, entry []byte) {
		entry = resealed(seq, entry)
		b, err := ParseBatch(seq, entry)
		if err != nil {
			if b != nil {
				t.Fatalf("an error and a batch: %+v, %v", b, err)
			}
			return
		}
		if got := AppendBatch(nil, seq, b); !bytes.Equal(got, entry) {
			t.Fatalf("%x came back as %x", entry, got)
		}
	})
}

func BenchmarkAppendBatch(b *testing.B) {
	batch := new(Batch)
	for range 100 {
		batch.Put(&samples[0])
	}
	var entry []byte
	b.ReportAllocs()
	for b.Loop() {
		entry = AppendBatch(entry[:0], 1, batch)
	}
	b.ReportMetric(float64(len(entry))/100, "B/binding")
}

func BenchmarkParseBinding(b *testing.B) {
	record := AppendBinding(nil, &samples[0])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseBinding(samples[0].Prefix, record); err != nil {
			b.Fatal(err)
		}
	}
}
