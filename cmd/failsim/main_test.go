package main

import (
	"regexp"
	"strings"
	"testing"
)

func failsim(args ...string) (code int, stdout, stderr string) {
	var out, err strings.Builder
	code = run(args, &out, &err)
	return code, out.String(), err.String()
}

func TestCleanSeeds(t *testing.T) {
	code, out, errs := failsim("-seed", "1", "-seeds", "4", "-twice", "-tally")
	if code != exitClean || errs != "" {
		t.Errorf("exit %d, %s%s", code, out, errs)
	}
	for _, want := range []string{"4 seeds, 0 broken", "messages between partners", "transition: "} {
		if !strings.Contains(out, want) {
			t.Errorf("the summary lacks %q:\n%s", want, out)
		}
	}
}

// A broken promise is told with its seed and with the command that shows it
// again, which does.
func TestBrokenSeed(t *testing.T) {
	code, out, errs := failsim("-seeds", "400", "-flaw", "no MCLT bound", "-without", "clock")
	if code != exitFound || errs != "" {
		t.Fatalf("exit %d, %s%s", code, out, errs)
	}
	found := regexp.MustCompile(`(?m)^BROKEN seed (\d+): (.*)$`).FindStringSubmatch(out)
	if found == nil {
		t.Fatalf("no seed is named:\n%s", out)
	}
	replay := "replay: failsim -seed " + found[1] + ` -trace -flaw "no MCLT bound" -without "clock"`
	if !strings.Contains(out, replay) {
		t.Errorf("want %q in\n%s", replay, out)
	}
	code, out, errs = failsim("-seed", found[1], "-trace", "-flaw", "no MCLT bound", "-without", "clock")
	if code != exitFound || errs != "" || !strings.Contains(out, "BROKEN "+found[2]+"\n") {
		t.Errorf("the replay ends with %d, %s, and does not say %q", code, errs, found[2])
	}
}

func TestTimeLimit(t *testing.T) {
	code, out, _ := failsim("-for", "300ms", "-parallel", "1")
	if !regexp.MustCompile(`(?m)^[1-9]\d* seeds, \d+ broken`).MatchString(out) {
		t.Errorf("exit %d:\n%s", code, out)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"-seeds", "many"}, {"7"}, {"-parallel", "0"}, {"-failures", "0"}, {"-trace", "-seeds", "2"},
		{"-flaw", "no such mistake"}, {"-without", "no such fault"},
	} {
		if code, _, errs := failsim(args...); code != exitUsage || errs == "" {
			t.Errorf("%q: exit %d, %q", args, code, errs)
		}
	}
	if code, out, _ := failsim("-flaw", "list"); code != exitClean || !strings.Contains(out, "no MCLT bound\n") {
		t.Errorf("exit %d, %q", code, out)
	}
	if code, _, errs := failsim("-help"); code != exitClean || !strings.Contains(errs, "-trace") {
		t.Errorf("-help: exit %d, %q", code, errs)
	}
}
