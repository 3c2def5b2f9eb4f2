package identity

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"
)

// neighbourMessage is one of the kernel's, as rtnetlink(7) has it.
func neighbourMessage(kind uint16, state uint16, addr netip.Addr, mac []byte) []byte {
	body := make([]byte, 12)
	body[0] = unix.AF_INET
	binary.NativeEndian.PutUint32(body[4:], 3) // the interface
	binary.NativeEndian.PutUint16(body[8:], state)
	for _, a := range []struct {
		kind  uint16
		value []byte
	}{{4, []byte{1, 2, 3, 4, 5}}, {unix.NDA_DST, addr.AsSlice()}, {unix.NDA_LLADDR, mac}} {
		attribute := binary.NativeEndian.AppendUint16(nil, uint16(4+len(a.value)))
		attribute = binary.NativeEndian.AppendUint16(attribute, a.kind)
		attribute = append(attribute, a.value...)
		for len(attribute)%4 != 0 {
			attribute = append(attribute, 0)
		}
		body = append(body, attribute...)
	}
	msg := make([]byte, 16)
	binary.NativeEndian.PutUint32(msg, uint32(16+len(body)))
	binary.NativeEndian.PutUint16(msg[4:], kind)
	return append(msg, body...)
}

func TestMessagesOfTheKernel(t *testing.T) {
	t.Parallel()
	done := make([]byte, 20)
	binary.NativeEndian.PutUint32(done, 20)
	binary.NativeEndian.PutUint16(done[4:], unix.NLMSG_DONE)
	var data []byte
	for _, msg := range [][]byte{
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_REACHABLE, ipad, ipadMAC[:]),
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_STALE, ipad6, ipadMAC[:]),
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_INCOMPLETE, laptop, nil),
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_NOARP, netip.MustParseAddr("127.0.0.1"), make([]byte, 6)),
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_REACHABLE, netip.MustParseAddr("10.20.3.9"), make([]byte, 20)), // not Ethernet
		neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_PERMANENT, netip.MustParseAddr("ff02::1"), []byte{0x33, 0x33, 0, 0, 0, 1}),
		neighbourMessage(unix.RTM_DELNEIGH, unix.NUD_STALE, ipad, ipadMAC[:]),
		neighbourMessage(unix.RTM_NEWLINK, 0, ipad, ipadMAC[:]),
		done,
	} {
		data = append(data, msg...)
	}
	got, err := parseNeighbours(data)
	if err != nil {
		t.Fatal(err)
	}
	want := []change{
		{addr: ipad, mac: ipadMAC, reached: true},
		{addr: ipad6, mac: ipadMAC},
		{addr: laptop, gone: true},
		{addr: netip.MustParseAddr("127.0.0.1"), gone: true},
		{addr: ipad, mac: ipadMAC, gone: true},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(change{}), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	refused := make([]byte, 20)
	binary.NativeEndian.PutUint32(refused, 20)
	binary.NativeEndian.PutUint16(refused[4:], unix.NLMSG_ERROR)
	errno := -int32(unix.EPERM)
	binary.NativeEndian.PutUint32(refused[16:], uint32(errno))
	if _, err := parseNeighbours(refused); err == nil || err.Error() != "the kernel refuses: operation not permitted" {
		t.Errorf("refused: %v", err)
	}
	for n := range 16 {
		if _, err := parseNeighbours(data[:n+1]); err == nil {
			t.Errorf("%d octets of a message are taken", n+1)
		}
	}
}

func FuzzNeighbours(f *testing.F) {
	f.Add(neighbourMessage(unix.RTM_NEWNEIGH, unix.NUD_REACHABLE, ipad, ipadMAC[:]))
	f.Add(neighbourMessage(unix.RTM_DELNEIGH, unix.NUD_STALE, ipad6, ipadMAC[:]))
	f.Fuzz(func(t *testing.T, data []byte) {
		changes, _ := parseNeighbours(data)
		for _, c := range changes {
			if !c.addr.IsValid() || !c.gone && c.mac == (MAC{}) {
				t.Errorf("%+v", c)
			}
		}
	})
}

// TestTheKernelIsHeardUntilTheEnd asks the kernel itself; what it knows is the machine's.
func TestTheKernelIsHeardUntilTheEnd(t *testing.T) {
	t.Parallel()
	s := newStore(t, Config{Neighbours: true})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.readNeighbours(ctx) }()
	stop()
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it ended with %v", err)
	}
}
