package failover

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tandem6/tandem6/failover/lease"
	"github.com/tandem6/tandem6/failover/wire"
)

// villain is a partner that does what a string of octets says: well-formed
// messages that make no sense, and messages with a few octets changed.
type villain struct {
	*scene
	script []byte
	last   []byte              // message
	sent   []*wire.BndUpd      // by the server, the last ones
	wait   *wire.TransactionID // of the BNDUPD just sent; nil: it was none
}

// next is the next octet of the script, zero at its end.
func (v *villain) next() byte {
	if len(v.script) == 0 {
		return 0
	}
	b := v.script[0]
	v.script = v.script[1:]
	return b
}

func pick[T any](v *villain, list ...T) T { return list[int(v.next())%len(list)] }

func (v *villain) u32() uint32 {
	return binary.BigEndian.Uint32([]byte{v.next(), v.next(), v.next(), v.next()})
}

// time is some instant: present, past, future, none, or any.
func (v *villain) time() wire.Time {
	now := wire.At(v.now.Wall, v.now.Wall)
	return pick(v, now, now, now-10, now+3600, now-3600, now+86400, 0, now+1<<31-1, now+1<<31, wire.Time(v.u32()))
}

// maybe is an option that is there, most of the time.
func maybe[T any](v *villain, value T) wire.Opt[T] {
	if v.next()%8 == 7 {
		return wire.Opt[T]{}
	}
	return wire.Some(value)
}

// play does what the script says, and looks after the server all the time.
func (v *villain) play() {
	for steps := 0; len(v.script) > 0 && steps < 400; steps++ {
		switch kind := v.next() % 16; {
		case kind == 0:
			v.pass(time.Duration(v.next()) * pick(v, second, 10*second, time.Minute, 1))
		case kind == 1 && v.conn != 0:
			v.cut()
		case kind == 2:
			_, _ = v.grant(v.lease(), pick(v, "ann", "bob"), uint32(v.next())*100)
		case kind == 3:
			_ = v.order(pick(v, SetPartnerDown, SetPartnerDownForce, Resync, Resync))
		case kind == 5 && v.asked:
			v.asked = false
			v.do(v.e.DialFailed)
		case v.conn == 0:
			v.reconnect()
		case kind == 4 && v.last != nil:
			m := append([]byte(nil), v.last...)
			for range 1 + v.next()%3 {
				m[int(v.u32()%uint32(len(m)))] ^= 1 << (v.next() % 8)
			}
			v.deliver(m[:len(m)-int(v.next()%4)/3])
		default:
			frame, err := wire.Append(nil, v.message())
			if err != nil {
				continue // what cannot be sent
			}
			v.last = frame
			v.deliver(frame)
		}
		v.inspect()
	}
}

func (v *villain) reconnect() {
	if v.cfg.Role == lease.Primary {
		if v.asked {
			v.say(v.connectReply(v.dialed()))
		}
	} else {
		v.accept(v.connectMessage())
	}
}

func (v *villain) deliver(message []byte) {
	m, err := wire.Parse(message)
	bad := new(wire.Error)
	if open := v.e.session != nil && v.e.session.phase == open; open && err == nil && m.Type() == wire.TypeBndUpd {
		id := m.ID()
		v.wait = &id
	} else if open && errors.As(err, &bad) && bad.Kind == wire.BadOption && bad.Type == wire.TypeBndUpd {
		v.wait = &bad.TransactionID
	}
	v.sayBytes(message)
}

// lease is one of few, so that they meet.
func (v *villain) lease() netip.Prefix {
	return pick(v, prefix("2001:db8::1"), prefix("2001:db8::2"), prefix("2001:db8::3"), delegable(0), delegable(1), delegable(3), prefix("2001:db9::1"), prefix("::/0"), prefix("2001:db8:8000::/49"))
}

// plausible is a message such as a real partner might send, though not now.
func (v *villain) plausible() wire.Message {
	p := v.lease()
	switch v.next() % 8 {
	case 0:
		return &wire.State{
			Header: v.header(), ServerState: wire.Some(pick(v, partners[:]...)), Flags: wire.Some(wire.ServerFlags(v.next() % 8)), StartTime: wire.Some(wire.At(v.now.Wall, v.now.Wall)),
		}
	case 1:
		return v.scene.bare(p.String(), pick(v, lease.Free, lease.FreeBackup))
	case 2:
		return &wire.UpdReqAll{Header: v.header()}
	case 3, 4:
		if len(v.sent) > 0 {
			return v.sent[int(v.next())%len(v.sent)].Reply()
		}
	}
	return v.scene.update(p.String(), pick(v, "ann", "bob"), pick(v, lease.Active, lease.Active, lease.Expired, lease.Released, lease.Abandoned, lease.Reset))
}

// message is any message.
func (v *villain) message() wire.Message {
	if v.next()%2 == 0 {
		return v.plausible()
	}
	h := v.header()
	if v.next()%8 == 0 {
		h.TransactionID = wire.TransactionID(v.next())
	}
	switch v.next() % 12 {
	case 0, 1:
		return &wire.State{
			Header: h, ServerState: maybe(v, State(v.next()%12)), Flags: maybe(v, wire.ServerFlags(v.next()%8)),
			StartTime: maybe(v, v.time()), PartnerDownTime: maybe(v, v.time()),
		}
	case 2, 3, 4:
		return v.update()
	case 5:
		l := v.option()
		l.BaseTime = maybe(v, v.time())
		return &wire.BndUpd{Header: h, Prefix: &l}
	case 6, 7, 8:
		return v.reply()
	case 9:
		h.TransactionID = v.pending(h.TransactionID)
		return &wire.UpdDone{Header: h}
	case 10:
		return pick[wire.Message](v, &wire.UpdReq{Header: h}, &wire.UpdReqAll{Header: h}, &wire.PoolReq{Header: h}, &wire.PoolResp{Header: h}, &wire.Contact{Header: h})
	}
	return pick[wire.Message](v, &wire.Contact{Header: h}, &wire.Disconnect{Header: h}, v.connectMessage(), v.connectReply(v.connectMessage()),
		&wire.StartTLS{}, &wire.Reply{}, &wire.BndUpd{Header: h})
}

// pending is the id of the server's request, if it has one.
func (v *villain) pending(id wire.TransactionID) wire.TransactionID {
	if s := v.e.session; s != nil && s.request != nil {
		return s.request.id
	}
	return id
}

func (v *villain) option() wire.LeaseOption {
	return wire.LeaseOption{
		Prefix: v.lease(), Preferred: uint32(v.next()), Valid: uint32(v.next()) << 4,
		BindingStatus: maybe(v, lease.Status(v.next()%10)), StartTimeOfState: maybe(v, v.time()), StateExpiration: maybe(v, v.time()),
		CLTTime: maybe(v, v.u32()>>(v.next()%32)), PartnerLifetime: maybe(v, v.time()), PartnerRawCLT: maybe(v, v.time()), Expiration: maybe(v, v.time()),
	}
}

func (v *villain) update() *wire.BndUpd {
	c := &wire.ClientData{ClientID: pick(v, lease.DUID("\x00\x02ann"), "\x00\x02bob", "\x00\x02eve", ""), BaseTime: maybe(v, v.time())}
	for range v.next() % 3 {
		ia := wire.IA{Type: pick(v, lease.IANA, lease.IANA, lease.IAPD, wire.IATA), IAID: lease.IAID(v.next() % 2)}
		for range v.next() % 4 {
			l := v.option()
			if ia.Type != lease.IAPD {
				l.Prefix = lease.Address(l.Prefix.Addr())
			}
			ia.Leases = append(ia.Leases, l)
		}
		c.IAs = append(c.IAs, ia)
	}
	return &wire.BndUpd{Header: v.header(), ClientData: c}
}

// reply answers something that the server sent, in its own way.
func (v *villain) reply() *wire.BndReply {
	if len(v.sent) == 0 {
		return v.update().Reply()
	}
	r := v.sent[int(v.next())%len(v.sent)].Reply()
	status := maybe(v, wire.Status{Code: pick(v, wire.Success, wire.AddressInUse, wire.ConfigurationConflict, wire.OutdatedBindingInformation, wire.StatusCode(v.next()))})
	l := only(r)
	switch v.next() % 6 {
	case 0:
		l.Status = status
	case 1:
		r.Status = status
	case 2:
		l.PartnerLifetimeSent = wire.Some(v.time())
	case 3:
		l.Prefix = v.lease()
		if r.ClientData != nil {
			l.Prefix = lease.Address(l.Prefix.Addr())
		}
	case 4:
		r.ClientData, r.Prefix = nil, nil
	}
	return r
}

// inspect checks what must be true whatever the partner does.
func (v *villain) inspect() {
	answers := 0
	for _, m := range v.heard {
		switch m := m.(type) {
		case *wire.BndReply:
			answers++
			if v.wait == nil || m.TransactionID != *v.wait {
				v.Errorf("BNDREPLY %v to nothing", m.TransactionID)
			}
		case *wire.BndUpd:
			v.sent = append(v.sent[max(0, len(v.sent)-100):], m)
		}
	}
	if answers > 1 || answers == 0 && v.wait != nil && v.conn != 0 {
		v.Errorf("%d answers to a BNDUPD", answers)
	}
	v.wait, v.heard, v.events = nil, nil, nil
	if s := v.e.session; s != nil {
		if len(s.flight) > s.window() || len(s.refused) > 64 || s.taking < 0 || s.taking > len(s.flight) {
			v.Errorf("%d in flight, %d refused, %d taken back", len(s.flight), len(s.refused), s.taking)
		}
	}
	if v.t.Len() > 64 {
		v.Errorf("%d leases in the table", v.t.Len())
	}
	for b := range v.t.From(netip.Prefix{}) {
		if !v.e.Covers(b) {
			v.Errorf("%+v is not of this relationship", b)
		}
	}
}

// hostile lets a villain loose on a server.
func hostile(t testing.TB, script []byte) {
	if len(script) < 2 {
		return
	}
	v := &villain{scene: newScene(t, roles[script[0]%2], func(c *Config) { shared(2, 50)(c) }), script: script[2:]}
	v.reach(Startup + State(script[1]%10))
	v.heard = nil
	v.play()
	v.whole()
	v.boot() // from what is on the disk now
}

// F-222: whatever a partner sends, no server falls over, loses count, keeps what is not
// its own or what cannot be, or leaves a BNDUPD without its one answer.
func FuzzReceive(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for state := range 10 {
		script := []byte{byte(r.Uint32()), byte(state)}
		for range 300 {
			script = append(script, byte(r.Uint32()))
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) { hostile(t, script) })
}

// The same with scripts by chance, in each state.
func TestHostilePartner(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		script := []byte{byte(seed), byte(seed / 2)}
		for range 2000 {
			script = append(script, byte(r.Uint32()))
		}
		hostile(t, script)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A partner can keep a server busy, but not fill its memory.
func TestMemoryIsBounded(t *testing.T) {
	const flood = 50_000
	for name, message := range map[string]func(s *scene, n int) wire.Message{
		"UPDREQ":    func(s *scene, n int) wire.Message { return &wire.UpdReq{Header: s.header()} },
		"UPDREQALL": func(s *scene, n int) wire.Message { return &wire.UpdReqAll{Header: s.header()} },
		"POOLREQ":   func(s *scene, n int) wire.Message { return &wire.PoolReq{Header: s.header()} },
		"UPDDONE":   func(s *scene, n int) wire.Message { return &wire.UpdDone{Header: s.header()} },
		"foreign leases": func(s *scene, n int) wire.Message {
			return s.update(fmt.Sprintf("2001:db9::%x:%x", n>>16, n&0xffff), "ann", lease.Active)
		},
		"foreign prefix": func(s *scene, n int) wire.Message {
			return s.bare(fmt.Sprintf("2001:db9:%x:%x00::/56", n>>8&0xffff, n&0xff), lease.Free)
		},
		"BNDREPLY": func(s *scene, n int) wire.Message { return s.bare("2001:db8:8000::/56", lease.Free).Reply() },
		"the same update": func(s *scene, n int) wire.Message {
			return s.update("2001:db8::1", fmt.Sprint("client", n%7), lease.Active)
		},
		"STATE": func(s *scene, n int) wire.Message {
			return &wire.State{Header: s.header(), ServerState: wire.Some(pickState(n)), Flags: wire.Some(wire.FlagCommunicated), StartTime: wire.Some(wire.At(start, start))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, lease.Primary, nil)
			s.reach(CommunicationsInterrupted)
			for n := range 20 {
				s.give(fmt.Sprintf("2001:db8::1:%x", 1+2*n), fmt.Sprint("client", n), 3600)
			}
			s.meet(Normal)
			used := func() uint64 {
				s.heard, s.events, s.turns = nil, nil, nil
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := used()
			for n := range flood {
				if s.conn == 0 {
					s.meet(Normal)
				}
				s.say(message(s, n))
				s.heard, s.events, s.turns = nil, nil, nil
			}
			if after := used(); after > before+4<<20 {
				t.Errorf("%d kB more than before", (after-before)>>10)
			}
			if n := s.t.Len(); n > 30 {
				t.Errorf("%d leases", n)
			}
		})
	}
}

func pickState(n int) State { return partners[n%len(partners)] }
