package appliance

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/tandem6/tandem6/appliance/config"
)

// firstConfig makes the configuration of a box that has none, and writes it
// where the operator will look for it.
func (d *Daemon) firstConfig() ([]byte, error) {
	text := InitialConfig(d.options.Rand)
	file := d.options.ConfigFile
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, err
	}
	if err := renameio.WriteFile(file, text, 0o600); err != nil {
		return nil, fmt.Errorf("write a first configuration: %w", err)
	}
	d.options.Log.Info("made a first configuration, change it to your needs", "file", file)
	return text, nil
}

// InitialConfig is a commented configuration that works: addresses and prefixes
// out of a random unique local prefix (RFC 4193) on the first network interface.
func InitialConfig(rnd *rand.Rand) []byte {
	a := [16]byte{0: 0xfd}
	var global [8]byte
	binary.BigEndian.PutUint64(global[:], rnd.Uint64())
	copy(a[1:6], global[:])
	return config.Init(netip.PrefixFrom(netip.AddrFrom16(a), 48), firstInterface())
}

// firstInterface is the network card with the lowest index, or eth0 when there
// is none yet. Bridges, tunnels and the like have no device behind them.
func firstInterface() string {
	interfaces, _ := net.Interfaces() // in the order of their indexes; on an error: none
	for _, i := range interfaces {
		if _, err := os.Stat("/sys/class/net/" + i.Name + "/device"); err == nil {
			return i.Name
		}
	}
	return "eth0"
}
