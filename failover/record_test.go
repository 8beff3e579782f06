package failover

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// full is a record of which every field says something else.
func full() record {
	return record{
		Role: lease.Secondary, State: PartnerDown, Previous: CommunicationsInterrupted, Since: start + 1, Dispute: true,
		Partner: RecoverWait, PartnerFlags: wire.FlagCommunicated, PartnerSince: start + 2, PartnerDownTime: start + 3, LastMessage: start + 4,
		Communicated: true, Loss: lossPromises, Virgin: true, Links: []string{"guests", "lan"},
		MCLT_s: 600, FormerMCLT_s: 3600, FormerUntil: lease.Forever, Stamp: start + 5,
	}
}

// F-280: the record comes back as it was, whatever is in it.
func TestRecord(t *testing.T) {
	for _, r := range []record{full(), lived(Normal), {State: Recover}} {
		data := appendRecord(nil, &r)
		got, err := parseRecord(data)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%+v comes back as %+v: %v", r, got, err)
		}
		if err := CheckRecord(data); err != nil {
			t.Error(err)
		}
	}
	if v, r := reflect.ValueOf(full()), reflect.TypeFor[record](); true { // nothing is left out of the test
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("field %s is zero", r.Field(i).Name)
			}
		}
	}
}

// A record that cannot be right is refused, with what is wrong.
func TestRecordRefused(t *testing.T) {
	r := full()
	good := appendRecord(nil, &r)
	with := func(change func(*record)) []byte {
		r := full()
		change(&r)
		return appendRecord(nil, &r)
	}
	for want, data := range map[string][]byte{
		"version []":              nil,
		"version [0]":             {0},
		"version [2]":             append([]byte{2}, good[1:]...),
		"field state":             {recordVersion},
		"field previous":          good[:2],
		"states state 11":         with(func(r *record) { r.State = 11 }),
		"states STARTUP":          with(func(r *record) { r.State = Startup }),
		"states state 0":          with(func(r *record) { r.State = 0 }),
		"state 12 before":         with(func(r *record) { r.Previous = 12 }),
		"state 13 of the partner": with(func(r *record) { r.Partner = 13 }),
		"loss":                    with(func(r *record) { r.Loss = 9 }),
		"a link's name":           good[:len(good)-1],
		"a link's name of 0":      append(bytes.Clone(good), 0),
		"a link's name of 255":    append(bytes.Clone(good), append([]byte{255}, make([]byte, 255)...)...),
		"field state, too long":   append([]byte{recordVersion, good[1] | 0x80, 0}, good[2:]...),
	} {
		_, err := parseRecord(data)
		said, _, _ := strings.Cut(want, ",")
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
		e := New(config(lease.Primary), lease.NewTable())
		if err := e.Load(data); err == nil {
			t.Errorf("%q is loaded", want)
		}
	}
}

// FuzzRecord: what is accepted is reproduced, octet for octet.
func FuzzRecord(f *testing.F) {
	for _, r := range []record{full(), lived(Normal), lived(RecoverWait)} {
		f.Add(appendRecord(nil, &r))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseRecord(data)
		if err != nil {
			return
		}
		if got := appendRecord(nil, &r); !bytes.Equal(got, data) {
			t.Errorf("%x is read as %+v, which is written as %x", data, r, got)
		}
	})
}

// A relationship that was configured no more has to tell everything anew when it
// comes back; what it knows of itself stays.
func TestForsake(t *testing.T) {
	r := full()
	data, err := Forsake(appendRecord(nil, &r))
	if err != nil {
		t.Fatal(err)
	}
	r.Links = nil
	if got, err := parseRecord(data); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Forsake([]byte{9}); err == nil {
		t.Error("a damaged record is forsaken")
	}
	if got := Since(data); got != start+5 {
		t.Errorf("the clock has read %v", got)
	}
	if got := Since([]byte{9}); got != 0 {
		t.Errorf("a damaged record says %v", got)
	}
}
