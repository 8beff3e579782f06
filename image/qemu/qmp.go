package qemu

import (
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// qmpTime bounds a command to QEMU, which answers within milliseconds.
const qmpTime = 10 * time.Second

// execute runs one command of the QEMU Machine Protocol over its unix socket.
func execute(socket, command string, arguments map[string]any) error {
	conn, err := net.DialTimeout("unix", socket, qmpTime)
	if err != nil {
		return fmt.Errorf("cannot reach QEMU: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(qmpTime)); err != nil {
		return err
	}
	replies := json.NewDecoder(conn)
	var greeting map[string]any
	if err := replies.Decode(&greeting); err != nil {
		return fmt.Errorf("no greeting from QEMU: %w", err)
	}
	// A session has to begin with qmp_capabilities before it takes commands.
	for _, request := range []map[string]any{{"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}} {
		if err := json.NewEncoder(conn).Encode(request); err != nil {
			return fmt.Errorf("QEMU: %v: %w", request["execute"], err)
		}
		if err := answer(replies); err != nil {
			return fmt.Errorf("QEMU: %v: %w", request["execute"], err)
		}
	}
	return nil
}

// answer reads up to the answer of a command; events may come before it.
func answer(replies *json.Decoder) error {
	for {
		var reply struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if err := replies.Decode(&reply); err != nil {
			return err
		}
		if reply.Error != nil {
			return fmt.Errorf("refused: %s", reply.Error.Desc)
		}
		if reply.Return != nil {
			return nil
		}
	}
}
