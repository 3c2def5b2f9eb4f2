package feed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// direct returns a fetcher that uses no proxy, whatever the environment says.
func direct() *fetcher {
	f := newFetcher(nil)
	f.proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	return f
}

// serve starts a web server for one test.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// body answers with a body, and its length.
func body(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// ask fetches, and returns what was written.
func ask(t *testing.T, f *fetcher, q fetchRequest) (string, fetched, error) {
	t.Helper()
	var dst bytes.Buffer
	got, err := f.fetch(t.Context(), q, &dst)
	return dst.String(), got, err
}

// refused fails the test unless the fetch ends with that error.
func refused(t *testing.T, f *fetcher, q fetchRequest, want string) {
	t.Helper()
	if _, _, err := ask(t, f, q); err == nil || err.Error() != want {
		t.Errorf("%s:\n got %v\nwant %s", q.URL, err, want)
	}
}

func TestAListIsFetchedOnlyWhereItChanged(t *testing.T) {
	content, etag := good, `"1"`
	modified := time.Date(2026, 9, 1, 6, 0, 0, 0, time.UTC)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != userAgent || r.Header.Get("Cookie") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("asked with %v", r.Header)
		}
		w.Header().Set("Etag", etag)
		w.Header().Set("Set-Cookie", "who=school")
		http.ServeContent(w, r, "", modified, strings.NewReader(content))
	})
	q := fetchRequest{URL: server.URL + "/list.txt#top"}
	want := fetched{ETag: `"1"`, LastModified: "Tue, 01 Sep 2026 06:00:00 GMT", Modified: modified, Wire: int64(len(good))}
	step := func(what, text string) {
		t.Helper()
		got, out, err := ask(t, direct(), q)
		if diff := cmp.Diff(want, out); diff != "" || err != nil || got != text {
			t.Errorf("%s: %q, %v %s", what, got, err, diff)
		}
		q.ETag, q.LastModified = out.ETag, out.LastModified
	}
	step("first", good)
	want.Unchanged, want.Wire = true, 0
	step("again", "")
	content, etag = later, `"2"`
	want.Unchanged, want.Wire, want.ETag = false, int64(len(later)), etag
	step("changed within the same second", later)
	q.ETag, want.Unchanged, want.Wire = "", true, 0
	step("a server without ETag", "")
}

func TestAnAnswerThatIsUnchangedMayLeaveOutSinceWhen(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	_, out, err := ask(t, direct(), fetchRequest{URL: server.URL, ETag: `"1"`})
	if diff := cmp.Diff(fetched{Unchanged: true, ETag: `"1"`}, out); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	refused(t, direct(), fetchRequest{URL: server.URL}, "the server answered 304 Not Modified")
}

func TestAValidatorThatCannotBeSentBackIsNotKept(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"`+strings.Repeat("x", maxValidator)+`"`)
		w.Header().Set("Last-Modified", "gestern, h\xe4")
		_, _ = io.WriteString(w, good)
	})
	_, out, err := ask(t, direct(), fetchRequest{URL: server.URL})
	if diff := cmp.Diff(fetched{Wire: int64(len(good))}, out); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestOnlyA200IsAList(t *testing.T) {
	for status, want := range map[int]string{
		404: "the server answered 404 Not Found",
		500: "the server answered 500 Internal Server Error",
		204: "the server answered 204 No Content",
		206: "the server answered 206 Partial Content",
		300: "the server answered 300 Multiple Choices",
		418: "the server answered 418 I'm a teapot",
		799: "the server answered 799 ",
	} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			if status != 204 {
				_, _ = io.WriteString(w, good)
			}
		})
		refused(t, direct(), fetchRequest{URL: server.URL}, want)
	}
}

func TestAPageIsHandedOnForTheParserToRefuse(t *testing.T) {
	server := serve(t, body([]byte("<html>Sign in</html>\n")))
	if got, _, err := ask(t, direct(), fetchRequest{URL: server.URL, Member: "adult/domains"}); err != nil || got != "<html>Sign in</html>\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestADigestIsOfTheBytesAsServed(t *testing.T) {
	for what, b := range map[string][]byte{"text": []byte(good), "gzip": gzipped([]byte(good)), "archive": tarGz(file{"domains", good})} {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "identity" {
				t.Error("an encoding was asked for")
			}
			_, _ = w.Write(b)
		})
		sum := sha256.Sum256(b)
		digest := hex.EncodeToString(sum[:])
		if got, _, err := ask(t, direct(), fetchRequest{URL: server.URL, SHA256: digest}); err != nil || got != good {
			t.Errorf("%s: %q, %v", what, got, err)
		}
		other := strings.Repeat("0", 64)
		refused(t, direct(), fetchRequest{URL: server.URL, SHA256: other}, "its sha256 is "+digest+", and the configuration wants "+other)
	}
}

// raw answers with bytes of its own making, and closes the connection.
func raw(t *testing.T, answer string) *httptest.Server {
	t.Helper()
	return serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, answer)
		_ = conn.Close()
	})
}

func TestAConnectionThatIsCutIsAnError(t *testing.T) {
	list := []byte(strings.Repeat(good, 100))
	for what, b := range map[string][]byte{
		"text": list, "gzip": gzipped(list), "tar": tarred(file{"domains", string(list)}), "tar.gz": tarGz(file{"domains", string(list)}), "zip": zipped(file{"domains", string(list)}),
	} {
		for tenth := range 10 {
			n := len(b) * tenth / 10
			cut := string(b[:n])
			withLength := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), cut)
			chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			if n > 0 {
				chunked += fmt.Sprintf("%x\r\n%s\r\n", n, cut)
			}
			t.Run(fmt.Sprintf("%s after %d tenths", what, tenth), func(t *testing.T) {
				refused(t, direct(), fetchRequest{URL: raw(t, withLength).URL}, fmt.Sprintf("the connection ended after %d of %d bytes", n, len(b)))
				refused(t, direct(), fetchRequest{URL: raw(t, chunked).URL}, fmt.Sprintf("the connection ended after %d bytes, before the end of the list", n))
			})
		}
	}
}

func TestNoErrorHoldsWhatTheServerSent(t *testing.T) {
	const secret = "zqx.example.org"
	for _, answer := range []string{
		secret + "\n",
		"HTTP/1.1 200 " + secret + "\r\n" + secret + "\r\n\r\n",
		"HTTP/1.1 500 " + secret + "\r\n\r\n" + secret,
		"HTTP/1.1 " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab" + secret + "\r\n",
		"HTTP/1.1 200 OK\r\nContent-Encoding: " + secret + "\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://%" + secret + "/\r\n\r\n",
		"HTTP/1.1 302 Found\r\n\r\n" + secret,
		"HTTP/1.1 200 OK\r\n\r\n\x1f\x8b\x08" + secret,
		"HTTP/1.1 200 OK\r\n\r\nPK\x03\x04" + secret,
		"HTTP/1.1 200 OK\r\n\r\n" + string(tarGz(file{secret, good}, file{"other", good})),
		"HTTP/1.1 200 OK\r\n\r\n" + string(zipped(file{secret, good}, file{"other", good})),
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat(secret, maxHeader/len(secret)+1) + "\r\n\r\n",
		"",
	} {
		_, _, err := ask(t, direct(), fetchRequest{URL: raw(t, answer).URL})
		if err == nil || strings.Contains(err.Error(), "zqx") {
			t.Errorf("%.80q: %v", answer, err)
		}
	}
}

func TestAServerThatCannotBeReachedIsSaidInPlainWords(t *testing.T) {
	_, _, err := ask(t, direct(), fetchRequest{URL: "http://127.0.0.1:1/"})
	if err == nil || err.Error() != "127.0.0.1:1 takes no connection" || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	f := direct()
	f.resolver = answering(t, "")
	_, _, err = ask(t, f, fetchRequest{URL: "http://lists.example/"})
	name := new(net.DNSError)
	if !errors.As(err, &name) {
		t.Fatalf("a name without an address: %v", err)
	}
	if want := "the name lists.example cannot be looked up: is this machine on the internet? (" + name.Error() + ")"; err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestAnEndlessListEnds(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := io.WriteString(w, good); err != nil {
				return
			}
		}
	})
	f := direct()
	f.limits.wire = 1 << 20
	got, out, err := ask(t, f, fetchRequest{URL: server.URL})
	if err == nil || err.Error() != "larger than 1 MB" || out.Wire > 2<<20 || len(got) > 2<<20 {
		t.Errorf("%v after %d bytes, %d written", err, out.Wire, len(got))
	}
	t.Run("and one that says so is not begun", func(t *testing.T) {
		server := raw(t, "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n")
		refused(t, f, fetchRequest{URL: server.URL}, "larger than 1 MB")
	})
}

func TestProgressIsOfTheBytesServed(t *testing.T) {
	packed := gzipped([]byte(good))
	server := serve(t, body(packed))
	var done, total int64
	_, _, err := ask(t, direct(), fetchRequest{URL: server.URL, Progress: func(d, t int64) {
		if d < done {
			done = -1
		}
		done, total = d, t
	}})
	if err != nil || done != int64(len(packed)) || total != done {
		t.Errorf("%d of %d, %v", done, total, err)
	}
}

func TestAFetchThatIsStoppedSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, good)
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	})
	if _, err := direct().fetch(ctx, fetchRequest{URL: server.URL}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestWhatIsNoURLOfAListIsRefused(t *testing.T) {
	for address, want := range map[string]string{
		"file:///etc/passwd":        "not a URL that begins with http:// or https://",
		"gopher://lists.example/":   "not a URL that begins with http:// or https://",
		"lists.example":             "not a URL that begins with http:// or https://",
		"http:///list":              "a URL without a host",
		"http://me:pw@127.0.0.1/":   "a URL with a user name or password: leave it out",
		"http://127.1/":             "a URL whose host is a number, but not an IP address",
		"http://2130706433/":        "a URL whose host is a number, but not an IP address",
		"http://0x7f.0x0.0.0x1/":    "a URL whose host is a number, but not an IP address",
		"http://127.0.0.1./":        "a URL whose host is a number, but not an IP address",
		"http://lists.example:x/":   "not a URL",
		"http://lists.example/%zz":  "not a URL",
		"http://lists.example/\n":   "not a URL",
		"http://lists .example/":    "not a URL",
		"http://[::1/":              "not a URL",
		"//lists.example/list.txt":  "not a URL that begins with http:// or https://",
		"http://lists.example:80:1": "not a URL",
	} {
		refused(t, direct(), fetchRequest{URL: address}, want)
	}
}

// secure starts an HTTPS server, and returns it and a fetcher that trusts it.
func secure(t *testing.T, h http.HandlerFunc, change ...func(*tls.Config)) (*httptest.Server, *fetcher) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.TLS = &tls.Config{}
	for _, c := range change {
		c(server.TLS)
	}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0) // each test of a bad handshake
	server.StartTLS()
	t.Cleanup(server.Close)
	f := direct()
	f.roots = x509.NewCertPool()
	f.roots.AddCert(server.Certificate())
	return server, f
}

func TestACertificateIsVerified(t *testing.T) {
	server, f := secure(t, body([]byte(good)))
	if got, _, err := ask(t, f, fetchRequest{URL: server.URL}); err != nil || got != good {
		t.Errorf("%q, %v", got, err)
	}
	var unknown x509.UnknownAuthorityError
	if _, _, err := ask(t, direct(), fetchRequest{URL: server.URL}); !errors.As(err, &unknown) {
		t.Errorf("of an unknown authority: %v", err)
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(server.URL, "https://"), ":")
	f.resolver = answering(t, "127.0.0.1")
	var host x509.HostnameError
	if _, _, err := ask(t, f, fetchRequest{URL: "https://localhost:" + port}); !errors.As(err, &host) {
		t.Errorf("of another host: %v", err)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	server, f := secure(t, body([]byte(good)), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
	if _, _, err := ask(t, f, fetchRequest{URL: server.URL}); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Error(err)
	}
}

func TestAServerThatSpeaksNoTLSIsSaid(t *testing.T) {
	server := serve(t, body([]byte(good)))
	refused(t, direct(), fetchRequest{URL: strings.Replace(server.URL, "http:", "https:", 1)}, "the server does not speak TLS on that port")
}
