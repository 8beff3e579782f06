package lab

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// The columns of Kea's lease file that are of use here.
const (
	keaAddress    = 0
	keaDUID       = 1
	keaValid      = 2
	keaExpire     = 3
	keaPreferred  = 5
	keaType       = 6 // 0 address, 2 delegated prefix
	keaIAID       = 7
	keaPrefixLen  = 8
	keaState      = 13 // 0 is assigned
	keaColumns    = 14
	keaTypePrefix = "2"
)

// parseKeaLeases reads Kea's append-only lease file: the last line about an address or prefix counts, and valid lifetime 0 removes it.
func parseKeaLeases(text string, now time.Time) ([]Lease, error) {
	reader := csv.NewReader(strings.NewReader(text))
	reader.FieldsPerRecord = -1
	records, err := reader.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("kea's lease file: %w", err)
	}
	var order []string
	last := make(map[string][]string)
	for _, r := range records[min(1, len(records)):] {
		if len(r) < keaColumns {
			continue // a last line that a kill has cut
		}
		key := r[keaAddress] + "/" + r[keaPrefixLen]
		if last[key] == nil {
			order = append(order, key)
		}
		last[key] = r
	}
	var list []Lease
	for _, key := range order {
		r := last[key]
		prefix, err := netip.ParsePrefix(key)
		if err != nil {
			return nil, fmt.Errorf("kea's lease file: %w", err)
		}
		expire, err := strconv.ParseInt(r[keaExpire], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("kea's lease file: expire: %w", err)
		}
		id, err := strconv.ParseUint(r[keaIAID], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("kea's lease file: iaid: %w", err)
		}
		remaining := time.Unix(expire, 0).Sub(now)
		if r[keaState] != "0" || r[keaValid] == "0" || remaining <= 0 {
			continue
		}
		preferred, _ := strconv.Atoi(r[keaPreferred])
		list = append(list, Lease{
			DUID: strings.ReplaceAll(r[keaDUID], ":", ""), IAID: uint32(id), Delegated: r[keaType] == keaTypePrefix,
			Prefix: prefix, Preferred: time.Duration(preferred) * time.Second, Valid: remaining,
		})
	}
	return list, nil
}

// parseTandem6Leases reads what "tandem6 leases --json" prints, an object for each lease, as an operator's script would.
func parseTandem6Leases(text string) ([]Lease, error) {
	var list []Lease
	for decoder := json.NewDecoder(strings.NewReader(text)); ; {
		var e struct {
			Prefix    string `json:"prefix"`
			Type      string `json:"type"`
			Client    string `json:"client"`
			IAID      uint32 `json:"iaid"`
			Status    string `json:"status"`
			Preferred uint32 `json:"preferred-s"`
			Valid     uint32 `json:"valid-s"`
		}
		err := decoder.Decode(&e)
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("tandem6 leases --json: %w", err)
		}
		if e.Status != "ACTIVE" {
			continue
		}
		if !strings.Contains(e.Prefix, "/") {
			e.Prefix += "/128"
		}
		prefix, err := netip.ParsePrefix(e.Prefix)
		if err != nil {
			return nil, fmt.Errorf("tandem6 leases --json: %w", err)
		}
		list = append(list, Lease{
			DUID: strings.ReplaceAll(e.Client, ":", ""), IAID: e.IAID, Delegated: e.Type == "IA_PD", Prefix: prefix,
			Preferred: time.Duration(e.Preferred) * time.Second, Valid: time.Duration(e.Valid) * time.Second,
		})
	}
}
