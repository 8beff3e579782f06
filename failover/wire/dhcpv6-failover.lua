-- A dissector of the DHCPv6 failover protocol (RFC 8156) for Wireshark and
-- tshark 4.0 or later.
--
-- To install it, copy this file into the folder of personal Lua plugins (Wireshark
-- shows it under Help, About, Folders; most often ~/.local/lib/wireshark/plugins).
-- To use it once:
--
--     tshark -X lua_script:dhcpv6-failover.lua -r capture.pcapng -O dhcpv6fo
--
-- It takes over TCP port 647 from the dissector of the DHCPv4 failover draft; for
-- another port use "Decode As...". Filters begin with dhcpv6fo: all that is wrong
-- is dhcpv6fo.malformed, a state dhcpv6fo.option.server_state == 4.
--
-- A connection that turns to TLS is handed to the dissector of TLS, and comes back
-- here when Wireshark has the keys.

local fo = Proto("dhcpv6fo", "DHCPv6 Failover")

-- 2000-01-01 00:00:00 UTC, the epoch of absolute times, in Unix time
local EPOCH = 946684800

local MESSAGES = {
  [7] = "REPLY", [23] = "STARTTLS", [24] = "BNDUPD", [25] = "BNDREPLY", [26] = "POOLREQ", [27] = "POOLRESP",
  [28] = "UPDREQ", [29] = "UPDREQALL", [30] = "UPDDONE", [31] = "CONNECT", [32] = "CONNECTREPLY",
  [33] = "DISCONNECT", [34] = "STATE", [35] = "CONTACT",
}

local BINDING_STATUS = {
  [1] = "ACTIVE", [2] = "EXPIRED", [3] = "RELEASED", [4] = "PENDING-FREE", [5] = "FREE", [6] = "FREE-BACKUP",
  [7] = "ABANDONED", [8] = "RESET",
}

local SERVER_STATE = {
  [1] = "STARTUP", [2] = "NORMAL", [3] = "COMMUNICATIONS-INTERRUPTED", [4] = "PARTNER-DOWN",
  [5] = "POTENTIAL-CONFLICT", [6] = "RECOVER", [7] = "RECOVER-WAIT", [8] = "RECOVER-DONE",
  [9] = "RESOLUTION-INTERRUPTED", [10] = "CONFLICT-DONE",
}

local STATUS = {
  [0] = "Success", [1] = "UnspecFail", [2] = "NoAddrsAvail", [3] = "NoBinding", [4] = "NotOnLink",
  [5] = "UseMulticast", [6] = "NoPrefixAvail", [7] = "UnknownQueryType", [8] = "MalformedQuery",
  [9] = "NotConfigured", [10] = "NotAllowed", [11] = "QueryTerminated", [12] = "DataMissing",
  [13] = "CatchUpComplete", [14] = "NotSupported", [15] = "TLSConnectionRefused", [16] = "AddressInUse",
  [17] = "ConfigurationConflict", [18] = "MissingBindingInformation", [19] = "OutdatedBindingInformation",
  [20] = "ServerShuttingDown", [21] = "DNSUpdateNotSupported", [22] = "ExcessiveTimeSkew",
}

local VSS_TYPE = { [0] = "name", [1] = "id", [255] = "global" }

local OPTIONS = {
  [1] = "OPTION_CLIENTID", [3] = "OPTION_IA_NA", [4] = "OPTION_IA_TA", [5] = "OPTION_IAADDR",
  [13] = "OPTION_STATUS_CODE", [25] = "OPTION_IA_PD", [26] = "OPTION_IAPREFIX", [39] = "OPTION_CLIENT_FQDN",
  [45] = "OPTION_CLIENT_DATA", [46] = "OPTION_CLT_TIME", [47] = "OPTION_LQ_RELAY_DATA", [68] = "OPTION_VSS",
  [100] = "OPTION_LQ_BASE_TIME", [114] = "OPTION_F_BINDING_STATUS", [115] = "OPTION_F_CONNECT_FLAGS",
  [116] = "OPTION_F_DNS_REMOVAL_INFO", [117] = "OPTION_F_DNS_HOST_NAME", [118] = "OPTION_F_DNS_ZONE_NAME",
  [119] = "OPTION_F_DNS_FLAGS", [120] = "OPTION_F_EXPIRATION_TIME", [121] = "OPTION_F_MAX_UNACKED_BNDUPD",
  [122] = "OPTION_F_MCLT", [123] = "OPTION_F_PARTNER_LIFETIME", [124] = "OPTION_F_PARTNER_LIFETIME_SENT",
  [125] = "OPTION_F_PARTNER_DOWN_TIME", [126] = "OPTION_F_PARTNER_RAW_CLT_TIME",
  [127] = "OPTION_F_PROTOCOL_VERSION", [128] = "OPTION_F_KEEPALIVE_TIME", [129] = "OPTION_F_RECONFIGURE_DATA",
  [130] = "OPTION_F_RELATIONSHIP_NAME", [131] = "OPTION_F_SERVER_FLAGS", [132] = "OPTION_F_SERVER_STATE",
  [133] = "OPTION_F_START_TIME_OF_STATE", [134] = "OPTION_F_STATE_EXPIRATION_TIME",
}

-- Fields, in the order of the list at the end of this part.

local fields = {}

local function field(kind, name, title, ...)
  local f = ProtoField[kind]("dhcpv6fo." .. name, title, ...)
  fields[#fields + 1] = f
  return f
end

local F = {
  size = field("uint16", "size", "Message size", base.DEC),
  msgtype = field("uint8", "msgtype", "Message type", base.DEC, MESSAGES),
  id = field("uint24", "transaction_id", "Transaction ID", base.HEX),
  sent = field("absolute_time", "sent_time", "Sent time", base.UTC),
  option = field("none", "option", "Option"),
  code = field("uint16", "option.code", "Option code", base.DEC, OPTIONS),
  length = field("uint16", "option.length", "Option length", base.DEC),
  data = field("bytes", "option.data", "Octets"),

  duid = field("bytes", "option.client_id", "DUID", base.COLON),
  iaid = field("uint32", "option.iaid", "IAID", base.DEC),
  t1 = field("uint32", "option.t1", "T1 (s)", base.DEC),
  t2 = field("uint32", "option.t2", "T2 (s)", base.DEC),
  preferred = field("uint32", "option.preferred_lifetime", "Preferred lifetime (s)", base.DEC),
  valid = field("uint32", "option.valid_lifetime", "Valid lifetime (s)", base.DEC),
  address = field("ipv6", "option.address", "Address"),
  prefix = field("ipv6", "option.prefix", "Prefix"),
  prefix_length = field("uint8", "option.prefix_length", "Prefix length", base.DEC),
  status = field("uint16", "option.status_code", "Status code", base.DEC, STATUS),
  status_text = field("string", "option.status_message", "Status message", base.UNICODE),
  fqdn_flags = field("uint8", "option.client_fqdn.flags", "Flags", base.HEX),
  fqdn = field("string", "option.client_fqdn", "Client FQDN"),
  clt_time = field("uint32", "option.clt_time", "Last transaction with the client (s before the base time)", base.DEC),
  peer = field("ipv6", "option.relay_peer", "Relay"),
  relay_message = field("bytes", "option.relay_message", "Last RELAY-FORW"),
  vss_type = field("uint8", "option.vss.type", "VSS type", base.DEC, VSS_TYPE),
  vss = field("bytes", "option.vss", "VSS information"),
  base_time = field("absolute_time", "option.base_time", "Base time", base.UTC),

  binding_status = field("uint8", "option.binding_status", "Binding status", base.DEC, BINDING_STATUS),
  connect_flags = field("uint16", "option.connect_flags", "Connect flags", base.HEX),
  fixed_pd = field("bool", "option.connect_flags.fixed_pd_length", "FIXED_PD_LENGTH", 16, nil, 0x0001),
  host_name = field("string", "option.dns_host_name", "DNS host name"),
  zone_name = field("string", "option.dns_zone_name", "DNS zone name"),
  dns_flags = field("uint16", "option.dns_flags", "DNS flags", base.HEX),
  dns_u = field("bool", "option.dns_flags.using_requested_fqdn", "USING_REQUESTED_FQDN", 16, nil, 0x0008),
  dns_s = field("bool", "option.dns_flags.synthesized_name", "SYNTHESIZED_NAME", 16, nil, 0x0004),
  dns_r = field("bool", "option.dns_flags.rev_uptodate", "REV_UPTODATE", 16, nil, 0x0002),
  dns_f = field("bool", "option.dns_flags.fwd_uptodate", "FWD_UPTODATE", 16, nil, 0x0001),
  expiration_time = field("absolute_time", "option.expiration_time", "Expiration time", base.UTC),
  max_unacked = field("uint32", "option.max_unacked_bndupd", "Most unacknowledged BNDUPDs", base.DEC),
  mclt = field("uint32", "option.mclt", "MCLT (s)", base.DEC),
  partner_lifetime = field("absolute_time", "option.partner_lifetime", "Partner lifetime", base.UTC),
  partner_lifetime_sent = field("absolute_time", "option.partner_lifetime_sent", "Partner lifetime sent", base.UTC),
  partner_down_time = field("absolute_time", "option.partner_down_time", "Partner-down time", base.UTC),
  partner_raw_clt = field("absolute_time", "option.partner_raw_clt_time", "Partner raw CLT time", base.UTC),
  major = field("uint16", "option.protocol_version.major", "Major version", base.DEC),
  minor = field("uint16", "option.protocol_version.minor", "Minor version", base.DEC),
  keepalive = field("uint32", "option.keepalive_time", "Keepalive time (s)", base.DEC),
  reconfigure_time = field("absolute_time", "option.reconfigure_data.time", "Key made", base.UTC),
  reconfigure_key = field("bytes", "option.reconfigure_data.key", "Reconfigure key"),
  relationship = field("string", "option.relationship_name", "Relationship name", base.UNICODE),
  server_flags = field("uint8", "option.server_flags", "Server flags", base.HEX),
  flag_a = field("bool", "option.server_flags.ack_startup", "ACK_STARTUP", 8, nil, 0x04),
  flag_s = field("bool", "option.server_flags.startup", "STARTUP", 8, nil, 0x02),
  flag_c = field("bool", "option.server_flags.communicated", "COMMUNICATED", 8, nil, 0x01),
  server_state = field("uint8", "option.server_state", "Server state", base.DEC, SERVER_STATE),
  start_time = field("absolute_time", "option.start_time_of_state", "Start time of state", base.UTC),
  state_expiration = field("absolute_time", "option.state_expiration_time", "State expiration time", base.UTC),
}
fo.fields = fields

local E = {
  malformed = ProtoExpert.new("dhcpv6fo.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR),
  unknown_type = ProtoExpert.new("dhcpv6fo.unknown_type", "Not a message of failover", expert.group.PROTOCOL, expert.severity.WARN),
  unknown_here = ProtoExpert.new("dhcpv6fo.unknown_here", "Not defined in this place, to be ignored", expert.group.PROTOCOL, expert.severity.NOTE),
}
fo.experts = { E.malformed, E.unknown_type, E.unknown_here }

-- Words

local function octets(n) return n == 1 and "1 octet" or n .. " octets" end

local function seconds(s) return s == 0xffffffff and "infinite" or string.format("%.0f s", s) end

local function instant(s) return s == 0 and "none" or os.date("!%Y-%m-%dT%H:%M:%SZ", s + EPOCH) end

local function named(names, otherwise)
  return function(n) return names[n] or string.format("%s %d", otherwise, n) end
end

-- names are those of the bits from the least significant on
local function flags(names)
  return function(n)
    local list = {}
    for i, name in ipairs(names) do
      local bit = 2 ^ (i - 1)
      if math.floor(n / bit) % 2 == 1 then
        list[#list + 1] = name
        n = n - bit
      end
    end
    if n > 0 then list[#list + 1] = string.format("0x%x", n) end
    return #list > 0 and table.concat(list, "|") or "none"
  end
end

local function hex(s) return (s:gsub(".", function(c) return string.format("%02x", c:byte()) end)) end

-- as hex, but of something long only the beginning
local function hexadecimal(s)
  local max = 64
  return #s > max and string.format("%s... (%d octets)", hex(s:sub(1, max)), #s) or hex(s)
end

-- why octets are not UTF-8 text that can travel, or nil
local function bad_text(s)
  local i = 1
  while i <= #s do
    local c, extra, min = s:byte(i), 0, 0
    if c >= 0xf0 and c <= 0xf4 then extra, min = 3, 0x10000
    elseif c >= 0xe0 and c <= 0xef then extra, min = 2, 0x800
    elseif c >= 0xc2 and c <= 0xdf then extra, min = 1, 0x80
    elseif c >= 0x80 then return "holds text that is not UTF-8" end
    local point = extra == 0 and c or c % 2 ^ (6 - extra)
    for j = i + 1, i + extra do
      local next = s:byte(j)
      if not next or next < 0x80 or next > 0xbf then return "holds text that is not UTF-8" end
      point = point * 64 + next % 64
    end
    if point < min or point > 0x10ffff or point >= 0xd800 and point <= 0xdfff then
      return "holds text that is not UTF-8"
    end
    i = i + 1 + extra
  end
  if s:sub(-1) == "\0" then return "holds text with a NUL at its end" end
end

-- text for display, whatever its octets
local function quoted(s)
  local odd = bad_text(s) and "[^ -~]" or "%c"
  return '"' .. s:gsub(odd, function(c) return string.format("\\x%02x", c:byte()) end) .. '"'
end

-- A slice is some octets of the message: d.buf from d.at, d.len of them. (A
-- TvbRange cannot be empty.)

local function slice(buf, at, len) return { buf = buf, at = at, len = len } end
local function range(d, at, len) return d.buf(d.at + at, len) end
local function raw(d, at)
  at = at or 0
  return d.len > at and d.buf:raw(d.at + at, d.len - at) or ""
end

local function too_short(d, need) return string.format("has %s, it needs at least %d", octets(d.len), need) end

-- What the content of an option looks like: functions of its data and its subtree
-- that return text, problem, and the slice of the options inside. Without a
-- problem there is a text.

local function number(size, f, words, bits)
  return function(d, tree)
    if d.len ~= size then return "", string.format("has %s, it needs %d", octets(d.len), size) end
    local item = tree:add(f, range(d, 0, size))
    for _, bit in ipairs(bits or {}) do item:add(bit, range(d, 0, size)) end
    return words(range(d, 0, size):uint())
  end
end

local function add_time(tree, f, r)
  local s = r:uint()
  tree:add(f, r, NSTime.new(s + EPOCH, 0))
  return instant(s)
end

local function absolute(f)
  return function(d, tree)
    if d.len ~= 4 then return "", string.format("has %s, it needs 4", octets(d.len)) end
    return add_time(tree, f, range(d, 0, 4))
  end
end

-- the text of a domain name, or nil and why it is none
local function domain_name(s)
  if #s > 255 then return nil, string.format("holds a name of %d octets, at most 255 are allowed", #s) end
  local labels, i = {}, 1
  while i <= #s do
    local n = s:byte(i)
    if n > 63 then
      return nil, string.format("holds a name with a label of length 0x%x: labels have at most 63 octets, and compression is not allowed", n)
    elseif n == 0 and i < #s then
      return nil, string.format("goes on for %s behind the end of its name", octets(#s - i))
    elseif i + n > #s then
      return nil, "ends within a label of its name"
    end
    labels[#labels + 1] = s:sub(i + 1, i + n):gsub(".", function(c)
      if c == "." or c == "\\" then return "\\" .. c end
      return (c > " " and c <= "~") and c or string.format("\\%03d", c:byte())
    end)
    i = i + 1 + n
  end
  return s == "\0" and "." or table.concat(labels, ".")
end

local function name(f)
  return function(d, tree)
    if d.len == 0 then return "", too_short(d, 1) end
    local text, problem = domain_name(raw(d))
    if problem then return "", problem end
    tree:add(f, range(d, 0, d.len), text)
    return text
  end
end

local function client_id(d, tree)
  if d.len < 3 or d.len > 130 then
    return "", string.format("holds a DUID of %s, allowed are 3 to 130", octets(d.len))
  end
  tree:add(F.duid, range(d, 0, d.len))
  return hex(raw(d)):gsub("(..)", "%1:"):sub(1, -2)
end

local function status_code(d, tree)
  if d.len < 2 then return "", too_short(d, 2) end
  local text, message = named(STATUS, "status code")(range(d, 0, 2):uint()), raw(d, 2)
  local problem = bad_text(message)
  tree:add(F.status, range(d, 0, 2))
  if message ~= "" and not problem then
    tree:add(F.status_text, range(d, 2, d.len - 2), message)
    text = text .. " " .. quoted(message)
  end
  return text, problem
end

local function relationship_name(d, tree)
  local problem = bad_text(raw(d))
  if not problem and d.len > 0 then tree:add(F.relationship, range(d, 0, d.len), raw(d)) end
  return quoted(raw(d)), problem
end

local function client_fqdn(d, tree)
  if d.len < 1 then return "", too_short(d, 1) end
  local text, problem = domain_name(raw(d, 1))
  if problem then return "", problem end
  tree:add(F.fqdn_flags, range(d, 0, 1))
  if d.len > 1 then tree:add(F.fqdn, range(d, 1, d.len - 1), text) end
  return (d.len > 1 and text or "no name") .. ", flags " .. flags({ "S", "O", "N" })(range(d, 0, 1):uint())
end

local function relay_data(d, tree)
  if d.len < 16 then return "", too_short(d, 16) end
  tree:add(F.peer, range(d, 0, 16))
  if d.len > 16 then tree:add(F.relay_message, range(d, 16, d.len - 16)) end
  return string.format("peer %s, message %s", range(d, 0, 16):ipv6(), hexadecimal(raw(d, 16)))
end

local function vss(d, tree)
  if d.len < 1 then return "", too_short(d, 1) end
  local kind = range(d, 0, 1):uint()
  tree:add(F.vss_type, range(d, 0, 1))
  if d.len > 1 then tree:add(F.vss, range(d, 1, d.len - 1)) end
  local data = hexadecimal(raw(d, 1))
  if kind == 0 then return "name " .. quoted(raw(d, 1)) end
  if kind == 255 then return "global", d.len > 1 and string.format("names the global default VPN and goes on for %s", octets(d.len - 1)) or nil end
  if kind == 1 then
    return "id " .. data, d.len ~= 8 and string.format("holds a VPN identifier of %s, it needs 7", octets(d.len - 1)) or nil
  end
  return string.format("type %d %s", kind, data)
end

local function version(d, tree)
  if d.len ~= 4 then return "", string.format("has %s, it needs 4", octets(d.len)) end
  tree:add(F.major, range(d, 0, 2))
  tree:add(F.minor, range(d, 2, 2))
  return string.format("%d.%d", range(d, 0, 2):uint(), range(d, 2, 2):uint())
end

local function reconfigure_data(d, tree)
  if d.len < 4 then return "", too_short(d, 4) end
  local made = add_time(tree, F.reconfigure_time, range(d, 0, 4))
  if d.len > 4 then tree:add(F.reconfigure_key, range(d, 4, d.len - 4)) end
  return string.format("made %s, key of %s", made, octets(d.len - 4))
end

local function container(d) return "", nil, d end

local function rest(d, fixed) return slice(d.buf, d.at + fixed, d.len - fixed) end

local function ia(d, tree)
  if d.len < 12 then return "", too_short(d, 12) end
  tree:add(F.iaid, range(d, 0, 4))
  tree:add(F.t1, range(d, 4, 4))
  tree:add(F.t2, range(d, 8, 4))
  local text = string.format("IAID %.0f, T1 %s, T2 %s", range(d, 0, 4):uint(), seconds(range(d, 4, 4):uint()), seconds(range(d, 8, 4):uint()))
  return text, nil, rest(d, 12)
end

local function ia_ta(d, tree)
  if d.len < 4 then return "", too_short(d, 4) end
  tree:add(F.iaid, range(d, 0, 4))
  return string.format("IAID %.0f", range(d, 0, 4):uint()), nil, rest(d, 4)
end

local function lifetimes(d, tree, at)
  tree:add(F.preferred, range(d, at, 4))
  tree:add(F.valid, range(d, at + 4, 4))
  return string.format("preferred %s, valid %s", seconds(range(d, at, 4):uint()), seconds(range(d, at + 4, 4):uint()))
end

local function iaaddr(d, tree)
  if d.len < 24 then return "", too_short(d, 24) end
  tree:add(F.address, range(d, 0, 16))
  return string.format("%s, %s", range(d, 0, 16):ipv6(), lifetimes(d, tree, 16)), nil, rest(d, 24)
end

local function iaprefix(d, tree)
  if d.len < 25 then return "", too_short(d, 25) end
  local bits = range(d, 8, 1):uint()
  if bits > 128 then return "", string.format("holds a prefix of length %d, at most 128 is possible", bits) end
  local text = lifetimes(d, tree, 0)
  tree:add(F.prefix_length, range(d, 8, 1))
  tree:add(F.prefix, range(d, 9, 16))
  return string.format("%s/%d, %s", range(d, 9, 16):ipv6(), bits, text), nil, rest(d, 25)
end

-- Places: what each defines, by option code.

local function plain(n) return string.format("%.0f", n) end

local SERVER_FLAGS = flags({ "COMMUNICATED", "STARTUP", "ACK_STARTUP" })
local DNS_FLAGS = flags({ "FWD_UPTODATE", "REV_UPTODATE", "SYNTHESIZED_NAME", "USING_REQUESTED_FQDN" })

local DNS = {
  [117] = { name(F.host_name) },
  [118] = { name(F.zone_name) },
  [119] = { number(2, F.dns_flags, DNS_FLAGS, { F.dns_u, F.dns_s, F.dns_r, F.dns_f }) },
}

local binding_status = { number(1, F.binding_status, named(BINDING_STATUS, "binding-status")) }
local start_time = { absolute(F.start_time) }

local LEASE = {
  [13] = { status_code },
  [39] = { client_fqdn },
  [46] = { number(4, F.clt_time, seconds) },
  [68] = { vss },
  [100] = { absolute(F.base_time) },
  [114] = binding_status,
  [116] = { container, inside = DNS },
  [120] = { absolute(F.expiration_time) },
  [123] = { absolute(F.partner_lifetime) },
  [124] = { absolute(F.partner_lifetime_sent) },
  [126] = { absolute(F.partner_raw_clt) },
  [133] = start_time,
  [134] = { absolute(F.state_expiration) },
}

local bare_prefix = { iaprefix, inside = LEASE }

local IA_ADDRESSES = {
  [5] = { iaaddr, inside = LEASE, many = true }, [13] = { status_code }, [114] = binding_status, [133] = start_time,
}
local IA_PREFIXES = {
  [13] = { status_code }, [26] = { iaprefix, inside = LEASE, many = true }, [114] = binding_status, [133] = start_time,
}

local client_data = {
  container,
  inside = {
    [1] = { client_id },
    [3] = { ia, inside = IA_ADDRESSES, many = true },
    [4] = { ia_ta, inside = IA_ADDRESSES, many = true },
    [13] = { status_code },
    [25] = { ia, inside = IA_PREFIXES, many = true },
    [47] = { relay_data },
    [68] = { vss },
    [100] = { absolute(F.base_time) },
    [129] = { reconfigure_data },
  },
}

local max_unacked = { number(4, F.max_unacked, plain) }
local mclt = { number(4, F.mclt, seconds) }
local keepalive = { number(4, F.keepalive, seconds) }
local connect_flags = { number(2, F.connect_flags, flags({ "FIXED_PD_LENGTH" }), { F.fixed_pd }) }

local IN_MESSAGE = {
  [7] = { [13] = { status_code } },
  [24] = { [26] = bare_prefix, [45] = client_data },
  [25] = { [13] = { status_code }, [26] = bare_prefix, [45] = client_data },
  [31] = {
    [115] = connect_flags, [121] = max_unacked, [122] = mclt, [127] = { version }, [128] = keepalive,
    [130] = { relationship_name },
  },
  [32] = {
    [13] = { status_code }, [115] = connect_flags, [121] = max_unacked, [122] = mclt, [127] = { version },
    [128] = keepalive,
  },
  [33] = { [13] = { status_code } },
  [34] = {
    [125] = { absolute(F.partner_down_time) },
    [131] = { number(1, F.server_flags, SERVER_FLAGS, { F.flag_a, F.flag_s, F.flag_c }) },
    [132] = { number(1, F.server_state, named(SERVER_STATE, "state")) },
    [133] = start_time,
  },
}

-- options dissects those in d, whose place defines them.
local function options(d, place, tree)
  local at, stop, seen = d.at, d.at + d.len, {}
  while at < stop do
    if stop - at < 4 then
      local item = tree:add(F.option, d.buf(at, stop - at))
      item:set_text("octets: " .. hexadecimal(d.buf:raw(at, stop - at)))
      item:add_proto_expert_info(E.malformed, string.format("ends with %s, too few for an option", octets(stop - at)))
      return
    end
    local code, len = d.buf(at, 2):uint(), d.buf(at + 2, 2):uint()
    local title = OPTIONS[code] or "option " .. code
    local item = tree:add(F.option, d.buf(at, math.min(4 + len, stop - at)))
    item:add(F.code, d.buf(at, 2))
    item:add(F.length, d.buf(at + 2, 2))
    item:set_text(title)
    if at + 4 + len > stop then
      item:add_proto_expert_info(E.malformed, string.format("%s has %s according to its length, but only %d are left", title, octets(len), stop - at - 4))
      return
    end
    local data, known = slice(d.buf, at + 4, len), place[code]
    if not known then
      if len > 0 then item:add(F.data, range(data, 0, len)) end
      item:set_text(title .. (len > 0 and ": " .. hexadecimal(raw(data)) or "") .. " (unknown here)")
      item:add_proto_expert_info(E.unknown_here)
    else
      local text, problem, inside = known[1](data, item)
      if seen[code] and not known.many then
        problem = problem or "comes a second time, one is allowed"
      end
      seen[code] = true
      if text ~= "" then item:set_text(title .. ": " .. text) end
      if problem then
        item:add_proto_expert_info(E.malformed, title .. " " .. problem)
      elseif inside then
        options(inside, known.inside, item)
      end
    end
    at = at + 4 + len
  end
end

-- message dissects one frame, message-size included.
local function message(buf, pinfo, root)
  local tree = root:add(fo, buf())
  tree:add(F.size, buf(0, 2))
  local len = buf:len() - 2
  if len < 4 then
    tree:add_proto_expert_info(E.malformed, string.format("a message of %s, the header alone has 4", octets(len)))
    return buf:len()
  end
  local typ, id = buf(2, 1):uint(), buf(3, 3):uint()
  local title = string.format("%s 0x%06x", MESSAGES[typ] or "message type " .. typ, id)
  tree:add(F.msgtype, buf(2, 1))
  tree:add(F.id, buf(3, 3))
  if pinfo.private.dhcpv6fo then
    pinfo.cols.info:append(", " .. title)
  else
    pinfo.private.dhcpv6fo = "more than one message in a segment"
    pinfo.cols.protocol, pinfo.cols.info = "DHCPv6-FO", title
  end
  tree:set_text("DHCPv6 Failover, " .. title)
  if not MESSAGES[typ] then
    tree:add_proto_expert_info(E.unknown_type)
    return buf:len()
  end
  local header = 4
  if typ >= 24 then -- not STARTTLS and its REPLY (RFC 7653 section 6.2.2)
    header = 8
    if len < header then
      tree:add_proto_expert_info(E.malformed, string.format("has %s, its header alone has 8", octets(len)))
      return buf:len()
    end
    tree:set_text("DHCPv6 Failover, " .. title .. ", sent " .. add_time(tree, F.sent, buf(6, 4)))
  end
  options(slice(buf, 2 + header, len - header), IN_MESSAGE[typ] or {}, tree)
  return buf:len()
end

function fo.dissector(buf, pinfo, root)
  -- A record of TLS cannot be mistaken for a frame: where its version has a
  -- minor number up to 4, a frame has its message type.
  if buf:len() >= 3 then
    local kind, major, minor = buf(0, 1):uint(), buf(1, 1):uint(), buf(2, 1):uint()
    if kind >= 20 and kind <= 23 and major == 3 and minor <= 4 then
      return Dissector.get("tls"):call(buf, pinfo, root)
    end
  end
  pinfo.private.dhcpv6fo = nil
  dissect_tcp_pdus(buf, root, 2, function(b, _, at) return 2 + b(at, 2):uint() end, message)
  return buf:len()
end

DissectorTable.get("tcp.port"):add(647, fo)
DissectorTable.get("tls.port"):add(647, fo)
