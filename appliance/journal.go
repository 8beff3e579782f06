package appliance

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/tandem6/tandem6/failover/trace"
)

const (
	// journalMax is how many events may wait to be written to the log. The
	// event loop never waits for the log.
	journalMax = 4096
	// perKindPerSecond is how many events of one kind are logged in a second,
	// so that a flood of packets is not also a flood of lines.
	perKindPerSecond = 20
)

// journal turns trace events into log lines.
type journal struct {
	log    *slog.Logger
	level  trace.Level // quieter events are not logged
	events chan trace.Event
	lost   atomic.Uint64 // found no room
	failed atomic.Uint64 // sends that failed
}

func newJournal(log *slog.Logger, level trace.Level) *journal {
	return &journal{log: log, level: level, events: make(chan trace.Event, journalMax)}
}

// record takes the events of a step. It never waits.
func (j *journal) record(events []trace.Event) {
	for i := range events {
		if events[i].ID.Level() < j.level {
			continue
		}
		select {
		case j.events <- events[i]:
		default:
			j.lost.Add(1)
		}
	}
}

func (j *journal) sendFailed(err error) {
	if j.failed.Add(1) == 1 {
		j.log.Warn("some answers could not be sent; the counter send-errors tells how many", "error", err)
	}
}

// run writes the log until ctx ends, and then what is left.
func (j *journal) run(ctx context.Context) error {
	counts := map[trace.ID]int{}
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case e := <-j.events:
			j.write(e, counts)
		case <-second.C:
			for id, n := range counts {
				if n > perKindPerSecond {
					j.log.Warn("log lines left out", "event", id.Name(), "count", n-perKindPerSecond)
				}
			}
			clear(counts)
			if n := j.lost.Swap(0); n > 0 {
				j.log.Warn("log lines lost, the box is too busy to write them", "count", n)
			}
		case <-ctx.Done():
			for {
				select {
				case e := <-j.events:
					j.write(e, counts)
				default:
					return nil
				}
			}
		}
	}
}

func (j *journal) write(e trace.Event, counts map[trace.ID]int) {
	if counts[e.ID]++; counts[e.ID] > perKindPerSecond {
		return
	}
	j.log.Log(context.Background(), slogLevel(e.ID.Level()), e.String(), "event", e.ID.Name())
}

func slogLevel(l trace.Level) slog.Level {
	switch l {
	case trace.Debug:
		return slog.LevelDebug
	case trace.Info:
		return slog.LevelInfo
	case trace.Warning:
		return slog.LevelWarn
	case trace.Error:
		return slog.LevelError
	}
	panic(fmt.Sprintf("appliance: trace level %d", l))
}
