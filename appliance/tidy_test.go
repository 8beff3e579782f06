package appliance_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tandem6/tandem6/"

// mayImport says for each package which others of ours it may import. A name
// ending in /... stands for everything below it. Arrows go down only.
var mayImport = map[string][]string{
	"failover/lease":        {},
	"failover/trace":        {"failover/lease"},
	"failover/wire":         {"failover/lease"},
	"failover":              {"failover/lease", "failover/trace", "failover/wire"},
	"storage":               {"failover/lease"},
	"storage/bolt":          {"storage", "failover/lease"},
	"storage/storagetest":   {"storage", "failover/lease"},
	"netcfg":                {},
	"netcfg/kernel":         {"netcfg"},
	"appliance/dhcp6":       {"failover/lease", "failover/trace"},
	"appliance/ra":          {},
	"appliance/ra/kernel":   {"appliance/ra"},
	"appliance/engine":      {"appliance/dhcp6", "failover", "failover/lease", "failover/trace", "failover/wire", "storage", "netcfg"},
	"appliance/sim":         {"appliance/dhcp6", "appliance/engine", "failover/...", "storage", "storage/storagetest", "netcfg"},
	"appliance/udp6":        {},
	"appliance/config":      {"appliance/dhcp6", "appliance/ra", "failover/lease", "netcfg"},
	"appliance":             {"appliance/...", "failover/...", "storage/...", "netcfg/...", "web"},
	"appliance/lab":         {},
	"web":                   {},
	"cmd/tandem6d":          {"appliance", "appliance/config", "failover/trace", "web"},
	"cmd/tandem6":           {"failover/wire", "web"},
	"cmd/failsim":           {"appliance/sim"},
	"cmd/ledger":            {},
	"appliance/lab/cmd/...": {"appliance/lab"},
}

// pure are the packages without goroutines, channels, locks, clocks, global
// randomness, operating system, sockets and logs.
var pure = []string{"failover", "failover/lease", "failover/trace", "failover/wire", "storage", "netcfg", "appliance/dhcp6", "appliance/ra", "appliance/engine"}

// banned are the packages that a pure one must not import.
var banned = []string{"os", "os/exec", "io/ioutil", "log", "log/slog", "net", "net/http", "sync", "sync/atomic", "syscall", "context", "crypto/rand", "math/rand", "golang.org/x/sys/unix", "unsafe", "runtime"}

// bannedCalls are the functions of allowed packages that a pure one must not call.
var bannedCalls = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"math/rand/v2": {"Int", "IntN", "Int32", "Int32N", "Int64", "Int64N", "Uint32", "Uint32N", "Uint64", "Uint64N", "N", "Float64", "Float32", "Perm", "Shuffle", "NormFloat64", "ExpFloat64"},
}

type pkg struct {
	ImportPath, Dir string
	Imports         []string
	GoFiles         []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Imports,GoFiles", module+"...")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var list []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		list = append(list, p)
	}
}

func matches(pattern, name string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return name == below || strings.HasPrefix(name, below+"/")
	}
	return pattern == name
}

// The arrows between packages are those of the table above.
func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		var allowed []string
		known := false
		for pattern, list := range mayImport {
			if matches(pattern, name) {
				known, allowed = true, append(allowed, list...)
			}
		}
		if !known {
			t.Errorf("package %s is not in the table: decide what it may import", name)
			continue
		}
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, module); ok && !slices.ContainsFunc(allowed, func(a string) bool { return matches(a, ours) }) {
				t.Errorf("%s must not import %s", name, ours)
			}
		}
	}
}

// The pure core has no way to the world outside.
func TestPureCore(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, strings.TrimPrefix(p.ImportPath, module)) {
			continue
		}
		for _, i := range p.Imports {
			if slices.Contains(banned, i) {
				t.Errorf("%s imports %s", p.ImportPath, i)
			}
		}
		for _, f := range p.GoFiles {
			inspect(t, filepath.Join(p.Dir, f))
		}
	}
}

func inspect(t *testing.T, file string) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{} // local name of an import -> its path
	for _, i := range f.Imports {
		path, _ := strconv.Unquote(i.Path.Value)
		name := filepath.Base(strings.TrimSuffix(path, "/v2"))
		if i.Name != nil {
			name = i.Name.Name
		}
		names[name] = path
	}
	bad := func(n ast.Node, what string) { t.Errorf("%s: %s in the pure core", set.Position(n.Pos()), what) }
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			bad(n, "a goroutine")
		case *ast.ChanType:
			bad(n, "a channel")
		case *ast.SelectStmt:
			bad(n, "a select")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && slices.Contains(bannedCalls[names[x.Name]], n.Sel.Name) {
				bad(n, x.Name+"."+n.Sel.Name)
			}
		}
		return true
	})
}

// The top level of the repository is fixed.
func TestTopLevel(t *testing.T) {
	allowed := []string{"cmd", "appliance", "failover", "storage", "netcfg", "image", "web", "Makefile", "go.mod", "go.sum", "README.md", "LICENSE"}
	out, err := exec.Command("git", "-C", "..", "ls-files").Output()
	if err != nil {
		t.Skip("not a git checkout: ", err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		top, _, _ := strings.Cut(name, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(allowed, top) {
			t.Errorf("%s does not belong at the top level", top)
		}
		if strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "build/") {
			t.Errorf("%s is made by the build and must not be committed", name)
		}
	}
}
