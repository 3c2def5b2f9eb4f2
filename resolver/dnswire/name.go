package dnswire

import "errors"

// MaxName is the most octets that a name has on the wire, its final zero included (RFC 1035 §2.3.4).
const MaxName = 255

// ErrFormat says that bytes are not a DNS message, or not one that may be believed.
var ErrFormat = errors.New("malformed DNS message")

// lower maps each octet to its lower case, ASCII only (RFC 4343). Length octets, below 64, stay as
// they are.
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) + 'a' - 'A'
	}
	return t
}()

// plainName copies the uncompressed name at msg[off] into dst as a key. It returns the key's length
// and the offset behind the name. A compression pointer is an error: nothing stands before a question
// that it could point to.
func plainName(dst *[MaxName]byte, msg []byte, off int) (n, end int, err error) {
	for {
		if off >= len(msg) {
			return 0, 0, ErrFormat
		}
		size := int(msg[off])
		if size > 63 || n+size+1 > MaxName || off+size+1 > len(msg) {
			return 0, 0, ErrFormat
		}
		for i := range size + 1 {
			dst[n+i] = lower[msg[off+i]]
		}
		n += size + 1
		off += size + 1
		if size == 0 {
			return n, off, nil
		}
	}
}

// AppendName appends the key of the name at msg[off], following compression pointers, to dst. It
// returns the offset behind the name as it stands at off.
func AppendName(dst, msg []byte, off int) (key []byte, end int, err error) {
	start := len(dst)
	if dst, end, err = appendRaw(dst, msg, off); err != nil {
		return dst, 0, err
	}
	for i, b := range dst[start:] {
		dst[start+i] = lower[b]
	}
	return dst, end, nil
}

// appendRaw is AppendName in the case of the message.
func appendRaw(dst, msg []byte, off int) (name []byte, end int, err error) {
	start := len(dst)
	limit := off // a pointer must point before the part of the name that it continues
	for {
		if off >= len(msg) {
			return dst, 0, ErrFormat
		}
		size := int(msg[off])
		switch {
		case size&0xC0 == 0xC0:
			if off+1 >= len(msg) {
				return dst, 0, ErrFormat
			}
			target := size&0x3F<<8 | int(msg[off+1])
			if target >= limit || target < headerLen {
				return dst, 0, ErrFormat
			}
			if end == 0 {
				end = off + 2
			}
			off, limit = target, target
			continue
		case size > 63:
			return dst, 0, ErrFormat
		case len(dst)-start+size+1 > MaxName || off+size+1 > len(msg):
			return dst, 0, ErrFormat
		}
		dst = append(dst, msg[off:off+size+1]...)
		off += size + 1
		if size == 0 {
			if end == 0 {
				end = off
			}
			return dst, end, nil
		}
	}
}

// skipName returns the offset behind the name at msg[off]. It checks the whole name, pointers
// included.
func skipName(msg []byte, off int) (end int, err error) {
	var buf [MaxName]byte
	_, end, err = AppendName(buf[:0], msg, off)
	return end, err
}
