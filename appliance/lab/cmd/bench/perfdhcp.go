package main

import (
	"errors"
	"fmt"
	"log"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tandem6/tandem6/appliance/lab"
)

// A load is one run of perfdhcp: 4-message exchanges of new clients at a steady rate.
type load struct {
	leases  leaseType
	rate    int // exchanges per second
	seconds int
	delays  bool // record the delay of each packet; costs perfdhcp time
}

// A report is what perfdhcp saw.
type report struct {
	rate, asked        int             // exchanges per second, and in all
	completed          int             // exchanges
	lostPercent        float64         // of the messages sent
	solicitMS          float64         // average delay from Solicit to Advertise
	requestMS          float64         // average delay from Request to Reply
	solicits, requests []time.Duration // the same for each packet, when recorded; sorted
	generatorTime      time.Duration   // processor time of perfdhcp
}

// passes is the criterion for a rate that a server masters: fewer than 1 % of the messages are lost, and at least 97 % of the
// asked exchanges are completed.
func (r report) passes() bool {
	return r.lostPercent < 1 && float64(r.completed) >= 0.97*float64(r.asked)
}

// perfdhcpClients is how many different clients perfdhcp plays: as many as the pools have leases.
const perfdhcpClients = 1 << 20

// run runs perfdhcp on the client's host.
func (l load) run(n *lab.Network) (report, error) {
	argv := []string{
		"perfdhcp", "-6", "-l", "eth0", "-e", l.leases.perfdhcp, "-R", strconv.Itoa(perfdhcpClients),
		"-r", strconv.Itoa(l.rate), "-p", strconv.Itoa(l.seconds), "-W", "1000000", // wait 1 s for the last answers
	}
	if l.delays {
		argv = append(argv, "-x", "t")
	}
	command := strings.Join(argv, " ")
	cmd := n.Client.Command(argv...)
	out, err := cmd.Output()
	const (
		gaveUp     = 1 // exit status: perfdhcp met an error of its own, which happens when packets pile up
		incomplete = 3 // exit status: not every exchange was completed
	)
	var exit *exec.ExitError
	switch {
	case err == nil:
	case !errors.As(err, &exit):
		return report{}, fmt.Errorf("%s: %w", command, err)
	case exit.ExitCode() == gaveUp:
		log.Printf("%s: %v: %s", command, err, exit.Stderr)
		return report{rate: l.rate, asked: l.rate * l.seconds, lostPercent: 100}, nil
	case exit.ExitCode() != incomplete:
		return report{}, fmt.Errorf("%s: %w: %s", command, err, exit.Stderr)
	}
	r, err := parse(string(out))
	if err != nil {
		return report{}, fmt.Errorf("%s: %w", command, err)
	}
	r.rate, r.asked = l.rate, l.rate*l.seconds
	r.generatorTime = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, nil
}

var (
	sectionStart = regexp.MustCompile(`^\*\*\*(?:Statistics for|Timestamps for packets): ([A-Z-]+)\*\*\*$`)
	timestamps   = regexp.MustCompile(`^sent / received: ([0-9.]+) / ([0-9.]+)$`)
	field        = regexp.MustCompile(`^(sent packets|received packets|avg delay): ([0-9.]+)(?: ms)?$`)
)

// parse reads what perfdhcp prints: for each of the two pairs of messages how many were sent and received, the average delay unless
// there was no answer at all, and the times of each packet.
func parse(text string) (report, error) {
	const first, second = "SOLICIT-ADVERTISE", "REQUEST-REPLY"
	var r report
	fields := make(map[string]float64) // by section and name
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := sectionStart.FindStringSubmatch(line); m != nil {
			section = m[1]
		} else if m := field.FindStringSubmatch(line); m != nil {
			fields[section+" "+m[1]], _ = strconv.ParseFloat(m[2], 64)
		} else if m := timestamps.FindStringSubmatch(line); m != nil {
			from, _ := strconv.ParseFloat(m[1], 64)
			to, _ := strconv.ParseFloat(m[2], 64)
			delay := time.Duration((to - from) * float64(time.Second))
			if section == first {
				r.solicits = append(r.solicits, delay)
			} else {
				r.requests = append(r.requests, delay)
			}
		}
	}
	sent := fields[first+" sent packets"] + fields[second+" sent packets"]
	if sent == 0 {
		return report{}, fmt.Errorf("its report cannot be understood: %q", text)
	}
	received := fields[first+" received packets"] + fields[second+" received packets"]
	r.lostPercent = 100 * (sent - received) / sent
	r.completed = int(fields[second+" received packets"])
	r.solicitMS, r.requestMS = fields[first+" avg delay"], fields[second+" avg delay"]
	slices.Sort(r.solicits)
	slices.Sort(r.requests)
	return r, nil
}
