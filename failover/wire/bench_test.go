package wire

import "testing"

// An update of one address and its answer: what an endpoint reads and writes for
// each lease that changes.

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"CONTACT", "BNDUPD: address", "BNDREPLY: address"} {
		b.Run(name, func(b *testing.B) {
			m := vector[Message](b, name)
			octets, _ := Append(nil, m)
			b.SetBytes(int64(len(octets)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(octets); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	for _, name := range []string{"CONTACT", "BNDUPD: address", "BNDREPLY: address"} {
		b.Run(name, func(b *testing.B) {
			m := vector[Message](b, name)
			var frame []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if frame, err = AppendFrame(frame[:0], m); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(int64(len(frame)))
		})
	}
}

func BenchmarkDeframe(b *testing.B) {
	octets, _ := stream(b)
	var d Deframer
	b.SetBytes(int64(len(octets)))
	b.ReportAllocs()
	for b.Loop() {
		for p := octets; ; {
			message, rest, err := d.Next(p)
			if err != nil {
				b.Fatal(err)
			}
			if message == nil {
				break
			}
			p = rest
		}
	}
}
