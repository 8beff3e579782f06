package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const sysctlRoot = "/proc/sys"

// readSysctl returns the value of a kernel parameter that is named by its path below /proc/sys.
func readSysctl(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%q does not name a kernel parameter", name)
	}
	value, err := os.ReadFile(filepath.Join(sysctlRoot, name))
	if err != nil {
		return "", fmt.Errorf("read kernel parameter: %w", err)
	}
	return strings.TrimSpace(string(value)), nil
}

// readSysctlNumber returns the number in a kernel parameter, or missing when there is no such parameter.
func readSysctlNumber(name string, missing int) (int, error) {
	value, err := readSysctl(name)
	if errors.Is(err, fs.ErrNotExist) {
		return missing, nil
	}
	if err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("kernel parameter %s: %q is not a number", name, value)
	}
	return number, nil
}

// writeSysctl writes a kernel parameter only if it differs: to write some is more than a change of value, as
// all/forwarding also resets every interface.
func writeSysctl(name, value string) error {
	old, err := readSysctl(name)
	if err != nil {
		return err
	}
	if old == value {
		return nil
	}
	if err := os.WriteFile(filepath.Join(sysctlRoot, name), []byte(value), 0o644); err != nil {
		return fmt.Errorf("write kernel parameter (it is %s): %w", old, err)
	}
	return nil
}
