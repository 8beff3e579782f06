package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/tandem6/tandem6/failover/lease"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sent is the sent-time of the vectors, 2024-01-01T00:00:00Z.
const sent Time = 757382400

func head(id TransactionID) Header { return Header{TransactionID: id, SentTime: sent} }

const (
	vectorDUID   = lease.DUID("\x00\x03\x00\x01\x02\x00\x00\x00\x00\xaa")
	vectorDUID2  = lease.DUID("\x00\x03\x00\x01\x02\x00\x00\x00\x00\xbb")
	vectorPrefix = "2001:db8:0:100::/56"
)

var prefix = netip.MustParsePrefix

// vectors are messages and their octets on the stream.
var vectors = []struct {
	name    string
	frame   string
	message Message
}{
	{"STARTTLS", `0004 17 000001`, &StartTLS{PlainHeader: PlainHeader{1}}},
	{"REPLY: go ahead", `0004 07 000001`, &Reply{PlainHeader: PlainHeader{1}}},
	{"REPLY: refused", `000A 07 000001 000D 0002 000F`, &Reply{
		PlainHeader: PlainHeader{1}, Status: Some(Status{Code: TLSConnectionRefused}),
	}},
	{"CONTACT", `0008 23 000010 2D24BD00`, &Contact{Header: head(0x10)}},
	{"POOLREQ", `0008 1A 000011 2D24BD00`, &PoolReq{Header: head(0x11)}},
	{"POOLRESP", `0008 1B 000011 2D24BD00`, &PoolResp{Header: head(0x11)}},
	{"UPDREQ", `0008 1C 000012 2D24BD00`, &UpdReq{Header: head(0x12)}},
	{"UPDREQALL", `0008 1D FFFFFF 2D24BD00`, &UpdReqAll{Header: head(TransactionIDMax)}},
	{"UPDDONE", `0008 1E FFFFFF 2D24BD00`, &UpdDone{Header: head(TransactionIDMax)}},
	{"CONNECT", `0037 1F 000001 2D24BD00
		007F0004 00010000  007A0004 00000E10  00800004 0000003C  00790004 00000064
		00820005 7061697231  00730002 0001`, &Connect{
		Header: head(1), Version: Some(Version), MCLT: Some[uint32](3600), KeepaliveTime: Some[uint32](60),
		MaxUnackedBndUpd: Some[uint32](100), RelationshipName: Some("pair1"), Flags: Some(FixedPDLength),
	}},
	{"CONNECTREPLY: accepts", `002E 20 000001 2D24BD00
		007F0004 00010000  007A0004 00000E10  00800004 0000003C  00790004 00000064  00730002 0001`, &ConnectReply{
		Header: head(1), Version: Some(Version), MCLT: Some[uint32](3600), KeepaliveTime: Some[uint32](60),
		MaxUnackedBndUpd: Some[uint32](100), Flags: Some(FixedPDLength),
	}},
	{"CONNECTREPLY: rejects", `0016 20 000001 2D24BD00 000D0002 0016 00800004 0000003C`, &ConnectReply{
		Header: head(1), Status: Some(Status{Code: ExcessiveTimeSkew}), KeepaliveTime: Some[uint32](60),
	}},
	{"DISCONNECT", `0011 21 000005 2D24BD00 000D0005 0014 627965`, &Disconnect{
		Header: head(5), Status: Some(Status{ServerShuttingDown, "bye"}),
	}},
	{"STATE: PARTNER-DOWN", `0022 22 000002 2D24BD00 00840001 04 00830001 01 00850004 2D24BC9C 007D0004 2D24BC9C`, &State{
		Header: head(2), ServerState: Some(StatePartnerDown), Flags: Some(FlagCommunicated),
		StartTime: Some(sent - 100), PartnerDownTime: Some(sent - 100),
	}},
	{"STATE: in STARTUP", `001A 22 000002 2D24BD00 00840001 03 00830001 03 00850004 2D24BC9C`, &State{
		Header: head(2), ServerState: Some(StateCommunicationsInterrupted), Flags: Some(FlagCommunicated | FlagStartup),
		StartTime: Some(sent - 100),
	}},
	{"BNDUPD: prefix", `003A 18 000003 2D24BD00
		001A002E 00000000 00000000 38 20010DB8000001000000000000000000
			00640004 2D24BD00  00720001 06  00850004 2D24BD00`, &BndUpd{
		Header: head(3), Prefix: &LeaseOption{
			Prefix: prefix(vectorPrefix), BaseTime: Some(sent), BindingStatus: Some(lease.FreeBackup), StartTimeOfState: Some(sent),
		},
	}},
	{"BNDREPLY: prefix", `002A 19 000003 2D24BD00
		001A001E 00000000 00000000 38 20010DB8000001000000000000000000 00720001 06`, &BndReply{
		Header: head(3), Prefix: &LeaseOption{Prefix: prefix(vectorPrefix), BindingStatus: Some(lease.FreeBackup)},
	}},
	{"BNDUPD: address", `007B 18 000004 2D24BD00
		002D006F
			0001000A 000300010200000000AA
			00640004 2D24BD00
			00030055 00000001 00000708 00000B40
				00050045 20010DB8000000000000000000001001 00000E10 00000E10
					00720001 01  00850004 2D24BD00  00860004 2D24CB10  002E0004 00000000
					007B0004 2D28B888  00780004 00000000`, &BndUpd{
		Header: head(4), ClientData: &ClientData{
			ClientID: vectorDUID, BaseTime: Some(sent), IAs: []IA{{
				Type: lease.IANA, IAID: 1, T1: 1800, T2: 2880, Leases: []LeaseOption{{
					Prefix: prefix("2001:db8::1001/128"), Preferred: 3600, Valid: 3600,
					BindingStatus: Some(lease.Active), StartTimeOfState: Some(sent), StateExpiration: Some(sent + 3600),
					CLTTime: Some[uint32](0), PartnerLifetime: Some(sent + 261000), Expiration: Some[Time](0),
				}},
			}},
		},
	}},
	{"BNDREPLY: address", `005B 19 000004 2D24BD00
		002D004F
			0001000A 000300010200000000AA
			0003003D 00000001 00000000 00000000
				0005002D 20010DB8000000000000000000001001 00000000 00000000
					00720001 01  00860004 2D24CB10  007C0004 2D28B888`, &BndReply{
		Header: head(4), ClientData: &ClientData{
			ClientID: vectorDUID, IAs: []IA{{
				Type: lease.IANA, IAID: 1, Leases: []LeaseOption{{
					Prefix: prefix("2001:db8::1001/128"), BindingStatus: Some(lease.Active),
					StateExpiration: Some(sent + 3600), PartnerLifetimeSent: Some(sent + 261000),
				}},
			}},
		},
	}},
	{"BNDUPD: everything", `0171 18 000006 2D24BD00
		002D0165
			0001000A 000300010200000000BB
			00640004 2D24BD00
			00440005 00 626C7565
			00810014 2D24BC9C 000102030405060708090A0B0C0D0E0F
			002F0014 FE800000000000000000000000000001 0C00AABB
			00030063 00000001 00000708 00000B40
				00050053 20010DB8000000000000000000001001 00000E10 00000E10
					00720001 02  00850004 2D24BD00
					0074002A
						0075000E 04686F7374 076578616D706C65 00
						0076000E 04686F6D65 076578616D706C65 00
						00770002 000B
			0004002D 00000002
				00050025 20010DB8000000000000000000001002 00000000 0000003C
					00720001 07  00850004 2D24BD00
			0019007A 00000003 00000708 00000B40
				001A0036 00000E10 00001C20 38 20010DB8000001000000000000000000
					00720001 01  00850004 2D24BD00  007E0004 2D24BC9C  00780004 2D24CB10
				001A0030 00000E10 00001C20 40 20010DB8000002000000000000000000
					00720001 03  00850004 2D24BD00  00270006 01 0474696E79`, nil},
}

func init() {
	vectors[len(vectors)-1].message = &BndUpd{Header: head(6), ClientData: &ClientData{
		ClientID: vectorDUID2, BaseTime: Some(sent), VSS: Some(VSS{VSSName, "blue"}),
		ReconfigureData: Some(ReconfigureData{sent - 100, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"}),
		RelayData:       Some(RelayData{netip.MustParseAddr("fe80::1"), "\x0c\x00\xaa\xbb"}),
		IAs: []IA{
			{Type: lease.IANA, IAID: 1, T1: 1800, T2: 2880, Leases: []LeaseOption{{
				Prefix: prefix("2001:db8::1001/128"), Preferred: 3600, Valid: 3600,
				BindingStatus: Some(lease.Expired), StartTimeOfState: Some(sent),
				DNSRemoval: &DNSRemoval{
					HostName: Some(Name("\x04host\x07example\x00")), ZoneName: Some(Name("\x04home\x07example\x00")),
					Flags: Some(ForwardUpToDate | ReverseUpToDate | UsingRequestedFQDN),
				},
			}}},
			{Type: IATA, IAID: 2, Leases: []LeaseOption{{
				Prefix: prefix("2001:db8::1002/128"), Valid: 60, BindingStatus: Some(lease.Abandoned), StartTimeOfState: Some(sent),
			}}},
			{Type: lease.IAPD, IAID: 3, T1: 1800, T2: 2880, Leases: []LeaseOption{
				{
					Prefix: prefix("2001:db8:0:100::/56"), Preferred: 3600, Valid: 7200,
					BindingStatus: Some(lease.Active), StartTimeOfState: Some(sent), PartnerRawCLT: Some(sent - 100),
					Expiration: Some(sent + 3600),
				},
				{
					Prefix: prefix("2001:db8:0:200::/64"), Preferred: 3600, Valid: 7200,
					BindingStatus: Some(lease.Released), StartTimeOfState: Some(sent), FQDN: Some(FQDN{FQDNServerUpdates, "\x04tiny"}),
				},
			}},
		},
	}}
}

// F-005, F-008, F-009, F-010, F-108: each vector is written and read octet by
// octet. F-041: the version is 1.0. F-035, F-036, F-037, F-039, F-040, F-042, F-052,
// F-053: the times of these options are absolute, seconds since 2000.
func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			frame := unhex(t, v.frame)
			got, err := AppendFrame([]byte("before"), v.message)
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(got, frame) {
				t.Errorf("wrote %x\n want %x", got, frame)
			}
			m, err := Parse(frame[sizeLen:])
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, v.message) {
				t.Errorf("read %+v\nwant %+v", m, v.message)
			}
			if m.Type() != Type(frame[2]) || m.ID() != TransactionID(frame[3])<<16|TransactionID(frame[4])<<8|TransactionID(frame[5]) {
				t.Errorf("type %v, id %v", m.Type(), m.ID())
			}
		})
	}
}
