package lease

// tolerance_s is how far the clocks of partners may be apart, in seconds (RFC
// 8156 section 7.1).
const tolerance_s = 5

// Compare tells whether a is later than b (+1), earlier (-1), or the same
// within the 5 seconds by which the clocks of partners may differ (0; RFC 8156
// section 7.5.1). What it calls later or earlier was so in truth; what it calls
// the same may have happened in either order. It is no ordering: being the same
// is not transitive.
func Compare(a, b Time) int {
	switch {
	case a-tolerance_s > b:
		return +1
	case b-tolerance_s > a:
		return -1
	}
	return 0
}
