package image_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestSameVersions compares what the programs on the image are built from, by this module, with what they are built and tested
// from, by the product's own module: the tools in this module might lift the version of a dependency.
func TestSameVersions(t *testing.T) {
	programs := imagePrograms(t)
	product, image := modules(t, "..", programs), modules(t, ".", programs)
	if len(product) == 0 {
		t.Fatal("the programs are built from no module at all: is the list right?")
	}
	for path := range maps.Keys(product) {
		if product[path] != image[path] {
			t.Errorf("%s: the product's module has %s, the image's %s", path, product[path], image[path])
		}
	}
	for path := range maps.Keys(image) {
		if _, ok := product[path]; !ok {
			t.Errorf("%s %s is only in the image", path, image[path])
		}
	}
	if t.Failed() {
		t.Log(`hint: name the same versions in both go.mod, with "go get" in one folder and "go mod tidy" in both`)
	}
}

// imagePrograms lists our own packages on the image.
func imagePrograms(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("amd64/config.json")
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Packages []string }
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatalf("amd64/config.json: %v", err)
	}
	return config.Packages
}

// modules returns the version, or the replacement, of every module that the programs are built from, as seen in a folder.
func modules(t *testing.T, dir string, programs []string) map[string]string {
	t.Helper()
	const format = "{{with .Module}}{{if .Version}}{{.Path}} {{.Version}}{{with .Replace}} => {{.}}{{end}}{{end}}{{end}}"
	cmd := exec.Command("go", append([]string{"list", "-deps", "-tags=gokrazy,netgo,osusergo", "-f", format}, programs...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0", "GOPROXY=off")
	var problem strings.Builder
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("in %s: %s: %v\n%s", dir, strings.Join(cmd.Args, " "), err, problem.String())
	}
	found := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		if path, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok && path != "github.com/tandem6/tandem6" {
			found[path] = version
		}
	}
	return found
}
