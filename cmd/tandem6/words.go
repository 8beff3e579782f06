package main

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/tandem6/tandem6/web"
)

// printable keeps what other people chose (host names, link names, the text of
// a file) from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// duration is a time in words with the two largest units that matter.
func duration(seconds int64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	switch {
	case seconds < minute:
		return fmt.Sprintf("%d s", seconds)
	case seconds < hour:
		return fmt.Sprintf("%d min", seconds/minute)
	case seconds < day:
		return pair(seconds/hour, "h", seconds%hour/minute, "min")
	case seconds < 2*day:
		return pair(1, "day", seconds%day/hour, "h")
	}
	return pair(seconds/day, "days", seconds%day/hour, "h")
}

func pair(large int64, largeUnit string, small int64, smallUnit string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", large, largeUnit)
	}
	return fmt.Sprintf("%d %s %d %s", large, largeUnit, small, smallUnit)
}

// lifetime is a lifetime of RFC 9915 in words.
func lifetime(seconds uint32) string {
	if seconds == web.Infinity {
		return "for ever"
	}
	return duration(int64(seconds))
}

// remaining is how long something still holds.
func remaining(seconds uint32) string {
	switch seconds {
	case 0:
		return "now"
	case web.Infinity:
		return "never"
	}
	return "in " + duration(int64(seconds))
}

// instant is an absolute time. Boxes have no time zone.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// ago is an absolute time, and how long before now it was where that makes sense.
func ago(t, now time.Time) string {
	if now.IsZero() || now.Before(t) {
		return instant(t)
	}
	return fmt.Sprintf("%s (%s ago)", instant(t), duration(int64(now.Sub(t)/time.Second)))
}

// count groups the digits of a number by three.
func count[T int | int64 | uint64](n T) string { return grouped(strconv.FormatInt(int64(n), 10)) }

func grouped(digits string) string {
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// size is the size of a pool: digits, or a power of two when there are too many.
func size(decimal string) string {
	n, ok := new(big.Int).SetString(decimal, 10)
	switch {
	case !ok:
		return printable(decimal)
	case n.BitLen() <= 40:
		return grouped(decimal)
	case n.TrailingZeroBits() == uint(n.BitLen()-1):
		return fmt.Sprintf("2^%d", n.BitLen()-1)
	}
	return "~2^" + strconv.Itoa(n.BitLen()-1) // the next lower power of two
}

// share is the part of a pool that is in use, in percent; one that is in use at
// all is never 0%, one that has room never 100%.
func share(used int, decimal string) string {
	total, ok := new(big.Int).SetString(decimal, 10)
	if !ok || total.Sign() <= 0 {
		return "-"
	}
	n := big.NewInt(int64(used))
	percent := new(big.Int).Div(new(big.Int).Mul(n, big.NewInt(100)), total)
	switch {
	case used > 0 && percent.Sign() == 0:
		return "<1%"
	case n.Cmp(total) >= 0:
		return "full"
	}
	return percent.String() + "%"
}

// octets is a number of octets in the unit that suits it.
func octets(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, "KMGTPE"
	for value >= unit {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}

// microseconds is a short time.
func microseconds(us int64) string {
	if us < 1000 {
		return fmt.Sprintf("%d us", us)
	}
	return fmt.Sprintf("%.1f ms", float64(us)/1000)
}

// clientLenMax is the width of a client in a table.
const clientLenMax = 28

// client names the holder of a lease in a column: the host name, or the DUID in
// hexadecimal digits. Of a long one the end is shown, where the devices of one
// maker differ; what is shown can be searched for.
func client(l *web.Lease) string {
	if l.Hostname != "" {
		return shorten(l.Hostname)
	}
	return shorten(strings.ReplaceAll(l.Client, ":", ""))
}

func shorten(s string) string {
	s = printable(s)
	if len(s) <= clientLenMax {
		return s
	}
	runes := []rune(s)
	return ".." + string(runes[max(0, len(runes)-clientLenMax+2):])
}

// plural counts things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return count(n) + " " + thing + "s"
}
