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

// A result is what perfdhcp saw.
type result struct {
	completed          int       // exchanges
	dropsPercent       float64   // of the messages sent
	solicitMS          float64   // average delay from Solicit to Advertise
	requestMS          float64   // average delay from Request to Reply
	solicitMSs         []float64 // sorted
	requestMSs         []float64 // sorted
	rate               int       // asked
	askedExchanges     int
	exchangesPerSecond float64
	generatorTime      time.Duration // processor time of perfdhcp

	// The bench adds:
	serverTime time.Duration // processor time of the server
	otherCores float64       // processors that were busy with anything else
}

// perExchange is the server's processor time for each completed exchange.
func (r result) perExchange() time.Duration {
	return (r.serverTime / time.Duration(max(1, r.completed))).Round(time.Microsecond)
}

// passes is the criterion for a rate that a server masters: fewer than 1 % of the messages are lost, and at least 97 % of the
// asked exchanges are completed.
func (r result) passes() bool {
	return r.dropsPercent < 1 && float64(r.completed) >= 0.97*float64(r.askedExchanges)
}

// perfdhcpClients is how many different clients perfdhcp plays: as many as the pools have leases.
const perfdhcpClients = 1 << 20

// run runs perfdhcp on the client's host.
func (l load) run(n *lab.Network) (result, error) {
	argv := []string{
		"perfdhcp", "-6", "-l", "eth0", "-e", l.leases.perfdhcp, "-R", strconv.Itoa(perfdhcpClients),
		"-r", strconv.Itoa(l.rate), "-p", strconv.Itoa(l.seconds), "-W", "1000000", // wait 1 s for the last answers
	}
	if l.delays {
		argv = append(argv, "-x", "t")
	}
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
		return result{}, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	case exit.ExitCode() == gaveUp:
		log.Printf("%s: %v: %s", strings.Join(argv, " "), err, exit.Stderr)
		return result{rate: l.rate, askedExchanges: l.rate * l.seconds, dropsPercent: 100}, nil
	case exit.ExitCode() != incomplete:
		return result{}, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, exit.Stderr)
	}
	r, err := parse(string(out))
	if err != nil {
		return result{}, fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	r.generatorTime = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	r.rate, r.askedExchanges = l.rate, l.rate*l.seconds
	r.exchangesPerSecond = float64(r.completed) / float64(l.seconds)
	return r, nil
}

var (
	sectionStart = regexp.MustCompile(`^\*\*\*(Statistics for|Timestamps for packets): ([A-Z-]+)\*\*\*$`)
	timestamps   = regexp.MustCompile(`^sent / received: ([0-9.]+) / ([0-9.]+)$`)
)

// parse reads perfdhcp's report.
func parse(text string) (result, error) {
	var r result
	var sent, received float64
	fields := 0
	section := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := sectionStart.FindStringSubmatch(line); m != nil {
			section = m[2]
			continue
		}
		if m := timestamps.FindStringSubmatch(line); m != nil {
			from, _ := strconv.ParseFloat(m[1], 64)
			to, _ := strconv.ParseFloat(m[2], 64)
			if delay := (to - from) * 1000; section == "SOLICIT-ADVERTISE" {
				r.solicitMSs = append(r.solicitMSs, delay)
			} else {
				r.requestMSs = append(r.requestMSs, delay)
			}
			continue
		}
		key, value, _ := strings.Cut(line, ": ")
		number, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSuffix(value, " ms"), " %"), 64)
		if err != nil {
			continue
		}
		fields++
		switch key {
		case "sent packets":
			sent += number
		case "received packets":
			received += number
			if section == "REQUEST-REPLY" {
				r.completed = int(number)
			}
		case "avg delay":
			if section == "SOLICIT-ADVERTISE" {
				r.solicitMS = number
			} else {
				r.requestMS = number
			}
		default:
			fields--
		}
	}
	const want = 2 * 3 // three fields for each of the two message pairs; without any answer, "n/a" takes the place of the delays
	if fields != want && received > 0 || sent == 0 {
		return result{}, fmt.Errorf("its report cannot be understood: %q", text)
	}
	r.dropsPercent = 100 * (sent - received) / sent
	slices.Sort(r.solicitMSs)
	slices.Sort(r.requestMSs)
	return r, nil
}

// percentile picks from sorted values.
func percentile(sorted []float64, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100]
}
