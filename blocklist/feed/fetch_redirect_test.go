package feed

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// redirecting answers every request with a redirect.
func redirecting(status int, to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(status)
	}
}

func TestARedirectIsFollowed(t *testing.T) {
	for _, to := range []string{"/list.txt", "http://cdn.example/list.txt", "//cdn.example/list.txt#top"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			f := proxied(t, "", func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/" {
					w.Header().Set("Set-Cookie", "who=school")
					redirecting(status, to)(w, r)
					return
				}
				if r.Header.Get("If-None-Match") != `"1"` || r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
					t.Errorf("%d: asked with %v", status, r.Header)
				}
				_, _ = io.WriteString(w, good)
			})
			if got, _, err := ask(t, f, fetchRequest{URL: "http://lists.example/", ETag: `"1"`}); err != nil || got != good {
				t.Errorf("%d to %s: %q, %v", status, to, got, err)
			}
		}
	}
}

func TestARedirectInsideIsNotFollowed(t *testing.T) {
	inside := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("asked") })
	_, port, _ := net.SplitHostPort(inside.Listener.Addr().String())
	const elsewhere = "not a public address: a redirect to another host may lead to public ones only"
	const here = "an address of this machine or its links: only a configured URL with the address itself, or localhost, may lead there, and no redirect"
	for to, why := range map[string]string{
		"http://127.0.0.1:" + port:          here,
		"http://127.0.0.2:" + port:          elsewhere,
		"http://localhost:" + port:          elsewhere,
		"http://a.localhost.:" + port:       elsewhere,
		"http://[::1]:" + port:              elsewhere,
		"http://[::ffff:127.0.0.1]:" + port: elsewhere,
		"http://0.0.0.0:" + port:            elsewhere,
		"http://10.0.0.1":                   elsewhere,
		"http://192.168.1.1":                elsewhere,
		"http://169.254.169.254":            elsewhere,
		"http://[fe80::1%25lo]":             elsewhere,
		"http://[fd00::1]":                  elsewhere,
		"http://2130706433:" + port:         "a URL whose host is a number, but not an IP address",
		"ftp://lists.example":               "not a URL that begins with http:// or https://",
		"file:///etc/passwd":                "not a URL that begins with http:// or https://",
		"http://me:pw@lists.example":        "a URL with a user name or password: leave it out",
	} {
		server := serve(t, redirecting(http.StatusFound, to+"/list.txt"))
		u, err := url.Parse(to)
		if err != nil {
			t.Fatal(err)
		}
		refused(t, direct(), fetchRequest{URL: server.URL}, "redirected to "+strconv.Quote(u.Scheme+"://"+u.Host)+": "+why)
	}
	t.Run("nor to where it came from, if that is this machine", func(t *testing.T) {
		server := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Error("asked")
			}
			redirecting(http.StatusFound, "/list.txt")(w, r)
		})
		refused(t, direct(), fetchRequest{URL: server.URL}, "redirected to "+strconv.Quote(server.URL)+": "+here)
	})
	t.Run("nor to a name that resolves to this machine", func(t *testing.T) {
		server := serve(t, redirecting(http.StatusFound, "http://lists.example:"+port))
		f := direct()
		f.resolver = answering(t, "127.0.0.1")
		refused(t, f, fetchRequest{URL: server.URL}, `redirected to "http://lists.example:`+port+`": dial tcp 127.0.0.1:`+port+": "+elsewhere)
	})
	t.Run("nor to a name that resolves to a private address", func(t *testing.T) {
		server := serve(t, redirecting(http.StatusFound, "http://lists.example"))
		f := direct()
		f.resolver = answering(t, "10.0.0.1")
		refused(t, f, fetchRequest{URL: server.URL}, `redirected to "http://lists.example": dial tcp 10.0.0.1:80: `+elsewhere)
	})
}

func TestRedirectsEnd(t *testing.T) {
	hops := 0
	f := proxied(t, "", func(w http.ResponseWriter, r *http.Request) {
		hops++
		redirecting(http.StatusFound, "/"+strconv.Itoa(hops))(w, r)
	})
	refused(t, f, fetchRequest{URL: "http://lists.example/"}, "redirected more than 5 times")
	if hops != maxRedirects+1 {
		t.Errorf("asked %d times", hops)
	}
}

func TestARedirectDoesNotGiveUpTLS(t *testing.T) {
	server, f := secure(t, redirecting(http.StatusFound, "http://lists.example/list.txt"))
	refused(t, f, fetchRequest{URL: server.URL}, `redirected from https to "http://lists.example": refused, since anybody on the way could change the list`)
}

func TestARedirectWithoutAUsableAddressIsAnError(t *testing.T) {
	for _, to := range []string{"", "http://%zz/", "://"} {
		server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if to != "" {
				w.Header().Set("Location", to)
			}
			w.WriteHeader(http.StatusFound)
		})
		refused(t, direct(), fetchRequest{URL: server.URL}, errNoRedirect.Error())
	}
}

// proxied starts a proxy, and returns a fetcher that uses it. Whatever host is asked for, the proxy
// connects to the one server behind it; requests for plain HTTP are answered by plain.
func proxied(t *testing.T, behind string, plain http.HandlerFunc) *fetcher {
	t.Helper()
	proxy := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			plain(w, r)
			return
		}
		if behind == "" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		server, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", behind)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		_, _ = io.Copy(client, server)
	})
	u, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := direct()
	f.proxy = http.ProxyURL(u)
	return f
}

func TestAProxyIsUsed(t *testing.T) {
	f := proxied(t, "", redirecting(http.StatusFound, "http://10.0.0.1/"))
	t.Run("and is not asked for an address inside", func(t *testing.T) {
		refused(t, f, fetchRequest{URL: "http://lists.example/"}, `redirected to "http://10.0.0.1": not a public address: a redirect to another host may lead to public ones only`)
	})
	t.Run("and what it answers instead of connecting is said", func(t *testing.T) {
		refused(t, f, fetchRequest{URL: "https://lists.example/list.txt"}, "the proxy answered 407 Proxy Authentication Required")
	})
	t.Run("for TLS, which it cannot look into", func(t *testing.T) {
		server, trusting := secure(t, body([]byte(good)))
		f := proxied(t, strings.TrimPrefix(server.URL, "https://"), nil)
		f.roots = trusting.roots
		if got, _, err := ask(t, f, fetchRequest{URL: "https://example.com/list.txt"}); err != nil || got != good {
			t.Errorf("%q, %v", got, err) // example.com is what the test server's certificate is for
		}
	})
	t.Run("and one that is not there is said", func(t *testing.T) {
		f.proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "127.0.0.1:1"})
		refused(t, f, fetchRequest{URL: "https://lists.example/"}, "connect to the proxy: 127.0.0.1:1 takes no connection")
	})
}
