package feed

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"schoolgate/blocklist"
)

// serves returns the names of specs whose list serves, and what it is matched by.
func serves(r Result, names ...string) (matched []string) {
	for _, text := range names {
		n, err := blocklist.ParseName(text)
		if err == nil && r.Set.Match([]byte(n)) != 0 {
			matched = append(matched, text)
		}
	}
	return matched
}

func TestAListThatIsTooLongCostsNoOther(t *testing.T) {
	long := "long.example\n"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, long) }))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "small.txt")
	if err := os.WriteFile(path, []byte("small.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	specs := []Spec{
		{ID: "long", URL: server.URL, Category: 1, MinShare: -1},
		{ID: "small", Path: path, Category: 2},
		{ID: "builtin:iwf", Builtin: "iwf", Category: 3},
	}
	names := []string{"long.example", "small.example", "iwf.testfiltering.com"}
	l := New(Options{Dir: t.TempDir()})
	l.room = 1000
	ctx := t.Context()
	if u := l.Update(ctx, specs, nil, false); u[0].Err != nil {
		t.Fatal(u[0].Err)
	}
	if got := serves(l.Load(ctx, specs, nil), names...); len(got) != 3 {
		t.Fatalf("before: %v", got)
	}
	for i := range 100 {
		long += fmt.Sprintf("host%d.long.example.net\n", i)
	}
	if u := l.Update(ctx, specs, nil, false); u[0].Err == nil || u[0].Changed {
		t.Errorf("it was taken: %+v", u[0])
	}
	if got := serves(l.Load(ctx, specs, nil), names...); len(got) != 3 {
		t.Errorf("after: %v", got)
	}
	t.Run("nor a file, whose last content stays", func(t *testing.T) {
		if err := os.WriteFile(path, []byte(long), 0o600); err != nil {
			t.Fatal(err)
		}
		r := l.Load(ctx, specs, nil)
		if got := serves(r, names...); len(got) != 3 || r.Lists[1].Err == nil || r.Lists[0].Err == nil {
			t.Errorf("%v, %v", got, r.Lists[1].Err)
		}
	})
}

func TestWithoutItsStateADirectoryOfListsHasNoTrial(t *testing.T) {
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	specs := []Spec{{ID: "a", Path: path, Category: 1, Trial: 7 * 24 * time.Hour, TrialCategory: 2, TrialName: "a"}}
	onTrial := func(l *Loader) bool { return l.Load(t.Context(), specs, nil).Lists[0].OnTrial }
	l := New(Options{Dir: dir})
	if !onTrial(l) {
		t.Fatal("a new list is not on trial")
	}
	if err := l.Confirm(specs[0]); err != nil || onTrial(l) {
		t.Fatal("not confirmed", err)
	}
	if err := os.Remove(filepath.Join(dir, "state.json")); err != nil {
		t.Fatal(err)
	}
	if onTrial(New(Options{Dir: dir})) {
		t.Error("a list that blocked is on trial again")
	}
}

func TestAStartWithNothingButBuiltinListsIsNoLostState(t *testing.T) {
	dir, log := filepath.Join(t.TempDir(), "lists"), new(bytes.Buffer)
	specs := []Spec{{ID: "builtin:gaming", Builtin: "gaming", Category: 1}}
	start := func() *Loader {
		l := New(Options{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
		l.Load(t.Context(), specs, nil)
		return l
	}
	start()
	l := start()
	if log.Len() > 0 {
		t.Errorf("logged: %s", log)
	}
	path := filepath.Join(t.TempDir(), "list.txt")
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	specs = append(specs, Spec{ID: "new", Path: path, Category: 1, Trial: time.Hour, TrialCategory: 2, TrialName: "a"})
	if !l.Load(t.Context(), specs, nil).Lists[1].OnTrial || !start().Load(t.Context(), specs, nil).Lists[1].OnTrial {
		t.Error("a new list is not on trial")
	}
}

func TestADamagedCopyIsFetchedAgainNoMoreOftenThanFailuresAllow(t *testing.T) {
	fails, asked := false, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; fails {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, good)
	}))
	defer server.Close()
	now, dir := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), t.TempDir()
	l := New(Options{Dir: dir, Now: func() time.Time { return now }})
	specs := []Spec{{ID: "a", URL: server.URL, Category: 1}}
	l.Update(t.Context(), specs, nil, true)
	l.Load(t.Context(), specs, nil)
	path := filepath.Join(dir, stem(server.URL)+clearCopy)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[30] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	fails, asked = true, 0
	l.Load(t.Context(), specs, nil)
	for end := now.Add(time.Hour); now.Before(end); now = now.Add(5 * time.Second) {
		if !l.Next(specs).After(now) {
			l.Update(t.Context(), specs, nil, true)
			l.Load(t.Context(), specs, nil)
		}
	}
	if asked < 3 || asked > 10 {
		t.Errorf("asked %d times in an hour", asked)
	}
}

func TestABodyOfUnknownLengthThatEndsWithinALineIsCutOff(t *testing.T) {
	whole := good + "good.example.com.bad.example\n"
	for body, want := range map[string]bool{whole: true, strings.TrimSuffix(whole, ".bad.example\n"): false} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%s", body)
			_ = conn.Close()
		}()
		l := New(Options{Dir: t.TempDir()})
		u := l.Update(t.Context(), []Spec{{ID: "a", URL: "http://" + listener.Addr().String() + "/"}}, nil, false)
		if taken := u[0].Err == nil; taken != want {
			t.Errorf("%q: %v", body, u[0].Err)
		}
		_ = listener.Close()
	}
}

func TestTheStateHasNothingThatAGuessAtAConfidentialListCouldBeComparedWith(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"1"`)
		_, _ = io.WriteString(w, good)
	}))
	defer server.Close()
	dir := t.TempDir()
	specs := []Spec{{ID: "a", URL: server.URL, Category: 1, Confidential: true}}
	id, _ := newIdentity(t)
	l := New(Options{Dir: dir, Identity: id})
	if u := l.Update(t.Context(), specs, nil, false); u[0].Err != nil {
		t.Fatal(u[0].Err)
	}
	l.Load(t.Context(), specs, nil)
	st := l.state.get(server.URL)
	if !st.Secret || st.Sum != "" || st.Size != 0 || st.Names != 0 || st.AskedFor != "" || st.Fits != nil {
		t.Errorf("%+v", st)
	}
}

func TestProcessesThatAreKilledLeaveFewSnapshots(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		name := filepath.Join(dir, fmt.Sprintf("%032x%s", i, snapshotFile))
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-30) * time.Minute)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	New(Options{Dir: dir}).Load(t.Context(), []Spec{{ID: "b", Builtin: "iwf"}}, nil)
	for i := range 20 {
		_, err := os.Stat(filepath.Join(dir, fmt.Sprintf("%032x%s", i, snapshotFile)))
		if kept := err == nil; kept != (i >= 20-mostSnapshots) {
			t.Errorf("snapshot %d: kept %v", i, kept)
		}
	}
}
