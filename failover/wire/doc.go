// Package wire is the codec of the DHCPv6 failover protocol, RFC 8156: frames
// on a TCP stream, messages, options. It is pure: octets in, values out.
//
// Parse is strict and Append is its inverse: what Parse accepts, Append
// reproduces octet by octet, the order of options and those unknown included.
// Whether a well-formed message says enough is another question, with answers
// that the protocol itself gives; the Check methods ask it.
//
// # Messages
//
// Each message is a struct of its own, and Message is any of them. STARTTLS and
// the REPLY to it have the plain header of DHCPv6; all others also carry the
// time at which they were sent (RFC 8156 section 5.2).
//
//	no.  type           struct        holds
//	 7   REPLY          Reply         STATUS_CODE when it refuses TLS
//	23   STARTTLS       StartTLS      nothing
//	24   BNDUPD         BndUpd        one CLIENT_DATA, or one IAPREFIX without client
//	25   BNDREPLY       BndReply      the same kind of option, with the verdict
//	26   POOLREQ        PoolReq       nothing
//	27   POOLRESP       PoolResp      nothing
//	28   UPDREQ         UpdReq        nothing
//	29   UPDREQALL      UpdReqAll     nothing
//	30   UPDDONE        UpdDone       nothing
//	31   CONNECT        Connect       F_PROTOCOL_VERSION, F_MCLT, F_KEEPALIVE_TIME,
//	                                  F_MAX_UNACKED_BNDUPD, F_RELATIONSHIP_NAME,
//	                                  F_CONNECT_FLAGS
//	32   CONNECTREPLY   ConnectReply  the same without the name; STATUS_CODE when it rejects
//	33   DISCONNECT     Disconnect    STATUS_CODE
//	34   STATE          State         F_SERVER_STATE, F_SERVER_FLAGS,
//	                                  F_START_TIME_OF_STATE, F_PARTNER_DOWN_TIME
//	35   CONTACT        Contact       nothing
//
// A binding update nests its options like this:
//
//	CLIENT_DATA          ClientData   CLIENTID, LQ_BASE_TIME, VSS, F_RECONFIGURE_DATA,
//	                                  LQ_RELAY_DATA
//	  IA_NA, IA_TA,      IA           IAID, T1, T2
//	  IA_PD
//	    IAADDR,          LeaseOption  lifetimes, F_BINDING_STATUS, F_START_TIME_OF_STATE,
//	    IAPREFIX                      F_STATE_EXPIRATION_TIME, CLT_TIME, F_PARTNER_LIFETIME,
//	                                  F_PARTNER_LIFETIME_SENT, F_PARTNER_RAW_CLT_TIME,
//	                                  F_EXPIRATION_TIME, CLIENT_FQDN
//	      F_DNS_REMOVAL_ DNSRemoval   F_DNS_HOST_NAME, F_DNS_ZONE_NAME, F_DNS_FLAGS
//	      INFO
//
// STATUS_CODE may stand in BNDREPLY, CLIENT_DATA, IA and lease option. An option
// in a place where it is not defined counts as unknown there: it is kept and
// means nothing.
//
// # For people
//
// Tree takes the octets of a message apart for display, also those of a message
// that Parse refuses. dhcpv6-failover.lua beside this file does the same inside
// Wireshark and tshark.
package wire
