package feed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"schoolgate/blocklist"
)

// Zone is a response policy zone that is had by zone transfer.
type Zone struct {
	Name    blocklist.Name
	Servers []netip.AddrPort // asked in this order until one has the zone; at least one
	TSIG    *TSIG            // nil: what the servers say is believed unsigned
}

// String returns the zone and its first server, as in rpz.example@192.0.2.1:53: the list's ID.
func (z *Zone) String() string {
	if len(z.Servers) == 0 {
		return z.Name.String()
	}
	return z.Name.String() + "@" + z.Servers[0].String()
}

// transferred is the outcome of a transfer.
type transferred struct {
	Unchanged   bool // the servers have what is held: nothing was written
	Serial      uint32
	Records     int   // that were written, the SOA record not counted
	Incremental bool  // by differences (IXFR)
	Wire        int64 // bytes that came, also with an error
}

// transfer brings a zone up to date over TCP (AXFR, RFC 5936; IXFR, RFC 1995), from the first of its
// servers that can. old is what an earlier transfer of it wrote; nil for none. Where differences do not
// fit that, or a server has none, the zone is had whole.
//
// The zone is written as text that blocklist.Parse reads as FormatRPZ: a record a line, absolute names
// in lower case, the SOA record first, the others in the server's order, or with IXFR in old's, what is
// new at the end. It is no copy for others to serve: there is no TTL, none of the records that serve the
// zone itself (NS, DNSSEC), and data that says nothing to Parse may be replaced by its hash.
//
// dst is called for each try, and not where the zone is unchanged. What went to a writer that it gave
// before is void, and with an error all is. The error names servers, and nothing of the zone's content.
func transfer(ctx context.Context, z Zone, old io.Reader, dst func() (io.Writer, error)) (transferred, error) {
	t := secondary{
		zone: z, old: readBase(old, z.Name), dst: dst, dial: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		bytes: 1 << 30, stall: time.Minute,
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Minute, errTransferTime)
	defer cancel()
	return t.run(ctx)
}

var (
	errTransferTime = errors.New("not done after 15 minutes")
	// errTransferWrite marks what no other server would do better.
	errTransferWrite = errors.New("write the zone")
)

// secondary is what schoolgate is for the time of one transfer.
type secondary struct {
	zone Zone
	old  *base // nil: none that serves
	dst  func() (io.Writer, error)

	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
	bytes int64         // that may come over the wire for one question
	stall time.Duration // for which a message, of at most 64 KiB, may not be complete
	wire  int64         // bytes that came
}

// run asks the servers in order.
func (t *secondary) run(ctx context.Context) (transferred, error) {
	err := errors.New("no server")
	for i, server := range t.zone.Servers {
		result, failed := t.from(ctx, server)
		result.Wire = t.wire
		if failed == nil {
			return result, nil
		}
		failed = fmt.Errorf("server %s: %w", server, failed)
		if i == 0 {
			err = failed
		} else {
			err = fmt.Errorf("%w; %w", err, failed)
		}
		if ctx.Err() != nil || errors.Is(failed, errTransferWrite) {
			break
		}
	}
	return transferred{Wire: t.wire}, fmt.Errorf("zone transfer: %w", err)
}

// from asks one server: for its serial, then for the differences, then for all.
func (t *secondary) from(ctx context.Context, server netip.AddrPort) (transferred, error) {
	serial, err := t.serial(ctx, server)
	if err != nil {
		return transferred{}, fmt.Errorf("ask for the serial: %w", err)
	}
	if t.old != nil {
		if serial == t.old.serial {
			return transferred{Unchanged: true, Serial: serial}, nil
		}
		if !newerSerial(serial, t.old.serial) {
			return transferred{}, fmt.Errorf("serial %d is older than %d, which is held: raise it on the primary", serial, t.old.serial)
		}
		if t.old.rest != nil {
			result, err := t.incremental(ctx, server)
			if err == nil || ctx.Err() != nil || errors.Is(err, errTransferWrite) {
				return result, err
			}
		}
	}
	return t.whole(ctx, server)
}

// newerSerial reports whether a comes after b (RFC 1982 §3.2).
func newerSerial(a, b uint32) bool { return int32(a-b) > 0 }

// writer begins a try.
func (t *secondary) writer() (*zoneWriter, error) {
	w, err := t.dst()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errTransferWrite, err)
	}
	return &zoneWriter{out: bufio.NewWriterSize(w, 64<<10)}, nil
}

// zoneWriter writes a zone's text.
type zoneWriter struct {
	out     *bufio.Writer
	records int
}

// put writes a record; the error comes from flush.
func (w *zoneWriter) put(line []byte) {
	_, _ = w.out.Write(line)
	_ = w.out.WriteByte('\n')
	w.records++
}

func (w *zoneWriter) flush() error {
	if err := w.out.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errTransferWrite, err)
	}
	return nil
}
