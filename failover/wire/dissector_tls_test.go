package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A tapped connection writes what is sent over it into a capture, too.
type tapped struct {
	net.Conn
	from    int
	mu      *sync.Mutex
	capture *capture
}

func (c *tapped) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.capture.send(c.from, p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// With the keys of a session, messages inside TLS 1.3 are dissected as well.
func TestDissectorInsideTLS(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	var keys bytes.Buffer
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: private}},
		MinVersion:   tls.VersionTLS13, InsecureSkipVerify: true, KeyLogWriter: &keys,
	}

	c := newCapture()
	c.send(primary, unhex(t, vectors[0].frame))   // STARTTLS
	c.send(secondary, unhex(t, vectors[1].frame)) // REPLY
	var mu sync.Mutex
	near, far := net.Pipe()
	client := tls.Client(&tapped{near, primary, &mu, c}, config)
	server := tls.Server(&tapped{far, secondary, &mu, c}, &tls.Config{Certificates: config.Certificates})
	octets, want := stream(t)
	done := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(server, make([]byte, len(octets)))
		done <- err
	}()
	for _, p := range chunks(octets, 100) {
		if _, err := client.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}

	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, keys.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	got := dissect(t, c.file, "-o", "tls.keylog_file:"+file)
	if len(got) != 2+len(want) {
		t.Fatalf("tshark finds %d messages, want %d", len(got), 2+len(want))
	}
	for i, v := range vectors {
		compare(t, v.name, got[2+i], want[i], true)
	}
	if got := dissect(t, c.file); len(got) != 2 {
		t.Errorf("without the keys tshark finds %d messages, want 2", len(got))
	}
}
