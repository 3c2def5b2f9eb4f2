package resolver

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of a worker. None of them waits, so the Go scheduler is not told of them (RawSyscall),
// which saves a third of what a short one costs. Errors are as the kernel gives them.

// mmsghdr is the kernel's struct mmsghdr (recvmmsg(2)); Go pads it as C does.
type mmsghdr struct {
	header unix.Msghdr
	size   uint32
}

// canBatch reports whether the system has recvmmsg: a sandbox may forbid it.
func canBatch() error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, ^uintptr(0), 0, 0, 0, 0, 0); errno == unix.ENOSYS || errno == unix.EPERM {
		return errno
	}
	return nil
}

// receiveBatch reads up to len(into) packets, and returns how many.
func receiveBatch(fd int, into []mmsghdr) int {
	//nolint:gosec // G103: the kernel writes into what into's headers point to, which their owner keeps
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0 // nothing there after all, or an error of an earlier packet's that concerns nobody
	}
	return int(n)
}

// sendBatch sends packets. One that cannot be sent is lost, as any datagram may be.
func sendBatch(fd int, packets []mmsghdr) {
	for len(packets) > 0 {
		//nolint:gosec // G103: the kernel reads what the headers point to, which their owner keeps
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&packets[0])), uintptr(len(packets)), unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			n = 1
		}
		packets = packets[n:]
	}
}

// readyEvents returns how many events an epoll set has, without waiting for one.
func readyEvents(set int, into []unix.EpollEvent) int {
	//nolint:gosec // G103: the kernel writes into into
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(set), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// readNow reads a datagram.
func readNow(fd int, into []byte) (n int, err error) {
	//nolint:gosec // G103: the kernel writes into into
	size, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&into[0])), uintptr(len(into)))
	if errno != 0 {
		return 0, errno
	}
	return int(size), nil
}

// writeNow sends a datagram.
func writeNow(fd int, packet []byte) error {
	//nolint:gosec // G103: the kernel reads packet
	if _, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet))); errno != 0 {
		return errno
	}
	return nil
}

// disconnect dissolves a UDP socket's connection, and gives its port back (connect(2), AF_UNSPEC).
func disconnect(fd int) error {
	unspecified := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	//nolint:gosec // G103: the kernel reads unspecified
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), unix.SizeofSockaddrInet4); errno != 0 {
		return errno
	}
	return nil
}
