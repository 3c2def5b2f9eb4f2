package resolver

import (
	"bytes"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"testing/iotest"
)

func FuzzReadQUIC(f *testing.F) {
	wanted := []byte("\x00\x00\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x00\x00\x01\x00\x01")
	for _, wire := range [][]byte{framed(wanted), framed(wanted)[:9], append(framed(wanted), 0), {0, 0}, nil, framed(make([]byte, maxQuery+1))} {
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		q := new(query)
		switch err := q.readQUIC(iotest.OneByteReader(bytes.NewReader(wire))); {
		case err == nil:
			// What is taken is one message behind its length, and nothing else.
			if !bytes.Equal(framed(q.in), wire) || q.in[0] != 0 || q.in[1] != 0 || q.in[2]&0x80 != 0 {
				t.Errorf("%x was taken as %x", wire, q.in)
			}
		case !errors.Is(err, errProtocol):
			t.Errorf("%x: %v", wire, err)
		}
	})
}

func FuzzReadHTTP(f *testing.F) {
	f.Add("dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlAAABAAE", []byte("x"), dohType)
	f.Add("dns=%41%3d&dns", make([]byte, maxQuery+1), dohType+"; a=b")
	f.Add("dns=AAAB;x", []byte(nil), "")
	f.Fuzz(func(t *testing.T, parameters string, body []byte, kind string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: dohPath, RawQuery: parameters}}
		q := new(query)
		status, reason := q.readHTTP(r)
		if (status == http.StatusOK) != (reason == "") {
			t.Errorf("%d %q", status, reason)
		}
		if status == http.StatusOK && base64.RawURLEncoding.EncodeToString(q.in) != r.URL.Query().Get("dns") {
			t.Errorf("%q was taken as %x", parameters, q.in)
		}
		r = httptest.NewRequest(http.MethodPost, dohPath, bytes.NewReader(body))
		r.Header.Set("Content-Type", kind)
		status, reason = q.readHTTP(r)
		if (status == http.StatusOK) != (reason == "") || status == http.StatusOK && !bytes.Equal(q.in, body) {
			t.Errorf("%d %q for %x", status, reason, body)
		}
	})
}
