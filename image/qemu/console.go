package qemu

import "sync"

// consoleMax bounds what is kept of a serial console, in octets. A boot writes 40 KB; a machine that writes without end must not
// take all memory.
const consoleMax = 4 << 20

// A console keeps the last consoleMax octets of what is written to it. Its zero value is empty.
type console struct {
	mu   sync.Mutex
	text []byte
	gone int // octets dropped from the front
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, p...)
	if excess := len(c.text) - consoleMax; excess > 0 {
		c.gone += excess
		c.text = append(c.text[:0], c.text[excess:]...)
	}
	return len(p), nil
}

// since returns what is kept of all that was written at or after a position, and the position of its end. Positions count all
// octets ever written.
func (c *console) since(position int) (text string, end int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end = c.gone + len(c.text)
	start := min(max(position-c.gone, 0), len(c.text))
	return string(c.text[start:]), end
}
