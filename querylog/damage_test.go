package querylog

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"
)

// threeBlocks writes a day with three blocks of two questions each, and returns its file.
func threeBlocks(t testing.TB, dir string) (path string, content []byte, s scanned) {
	t.Helper()
	d := open(t, dir, fullSettings())
	for i := range 3 {
		d.ask(pupil, fmt.Sprintf("a%d.example", i))
		d.ask(other, fmt.Sprintf("b%d.example", i))
		d.mustTurn()
		d.now = d.now.Add(time.Minute)
	}
	if err := d.files.close(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(Dir(dir), "2026-11-20.log")
	content, err := os.ReadFile(path)
	if err == nil {
		s, err = scan(bytes.NewReader(content), int64(len(content)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return path, content, s
}

func TestATornFileIsReadUpToTheTearAndGoesOnThere(t *testing.T) {
	dir := t.TempDir()
	path, content, s := threeBlocks(t, dir)
	for length := range len(content) {
		whole := 0
		for _, b := range s.blocks {
			if b.at+b.size() <= int64(length) {
				whole++
			}
		}
		want := []string{"a0.example", "a1.example", "a2.example"}[:whole]
		if err := os.WriteFile(path, content[:length], 0o600); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir, "10.20.3.4", time.Time{}, time.Time{}); !slices.Equal(got, want) {
			t.Fatalf("cut off at %d: %v, want %v", length, got, want)
		}
		d := open(t, dir, fullSettings())
		d.ask(pupil, "afterwards.example")
		d.now = noon.Add(time.Hour)
		d.mustTurn()
		if err := d.files.close(); err != nil {
			t.Fatal(err)
		}
		if got := names(t, dir, "10.20.3.4", time.Time{}, time.Time{}); len(got) != whole+1 || !slices.Contains(got, "afterwards.example") {
			t.Fatalf("cut off at %d and continued: %v", length, got)
		}
	}
}

// Whatever bit of a file flips, no question changes, and what is missing is said.
func TestDamageIsLeftOutAndSaid(t *testing.T) {
	dir := t.TempDir()
	path, content, _ := threeBlocks(t, dir)
	all := []string{"a0.example", "a1.example", "a2.example"}
	for at := range content {
		damaged := slices.Clone(content)
		damaged[at] ^= 1 << (at % 8)
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		err := NewReader(dir, nil).Export(t.Context(), "10.20.3.4", time.Time{}, time.Time{}, func(q Question) error {
			got = append(got, q.Query.Name[:len(q.Query.Name)-1])
			return nil
		})
		for _, name := range got {
			if !slices.Contains(all, name) {
				t.Fatalf("octet %d: %q was never asked", at, name)
			}
		}
		_, said := errors.AsType[*DamagedError](err)
		switch tail := len(got) == 2 && !slices.Contains(got, "a2.example"); {
		case errors.Is(err, ErrNewer): // what follows in the first line
			if at < len(prefaceStart) || at >= len(preface) {
				t.Fatalf("octet %d: %v", at, err)
			}
		case err != nil && !said:
			t.Fatalf("octet %d: %v", at, err)
		case len(got) < 3 && !said && !tail: // a last header that is none looks like one that was cut off
			t.Fatalf("octet %d: only %v, and nothing said", at, got)
		case len(got) < 2:
			t.Fatalf("octet %d: only %v", at, got)
		}
	}
}

func TestAnErasureLeavesOutWhatItCannotSearch(t *testing.T) {
	dir := t.TempDir()
	path, content, s := threeBlocks(t, dir)
	content[s.blocks[1].at+headerSize+3] ^= 4
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := Erase(t.Context(), dir, "10.20.3.4", time.Time{}, time.Time{}); n != 2 || err != nil {
		t.Fatalf("%d erased, want 2: %v", n, err)
	}
	wantNames(t, dir, "10.20.3.5", "b0.example", "b2.example")
	wantNames(t, dir, "10.20.3.4")
}

func TestAFileOfALaterSchoolgateIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	path, content, _ := threeBlocks(t, dir)
	content[len(prefaceStart)] = '2'
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir, fullSettings())
	d.ask(pupil, "a.example")
	if err := d.turn(t.Context(), true); !errors.Is(err, ErrNewer) {
		t.Errorf("written to: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(content) {
		t.Errorf("it has changed (%v)", err)
	}
}

func FuzzScan(f *testing.F) {
	_, content, _ := threeBlocks(f, f.TempDir())
	f.Add(content)
	f.Add([]byte(preface))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := bytes.NewReader(content)
		s, err := scan(r, int64(len(content)))
		if err != nil {
			return
		}
		for _, b := range s.blocks {
			body, err := b.body(r)
			if err != nil {
				t.Fatalf("a block that is not in the file: %v", err)
			}
			if _, err := new(unpacker).unpack(b.header, body, nil); err != nil && !errors.Is(err, errBlock) {
				t.Fatal(err)
			}
		}
	})
}

// FuzzUnpack has parts that are compressed as they should be, and the right sum.
func FuzzUnpack(f *testing.F) {
	path, _, _ := threeBlocks(f, f.TempDir())
	parts := unpacked(f, path)
	f.Add(parts[0], parts[1], uint32(2))
	f.Fuzz(func(t *testing.T, clients, rest []byte, count uint32) {
		p := newPacker()
		p.plain = append(p.plain, clients...)
		p.compress()
		h := header{clients: uint32(p.packed.Len()), count: count % (maxBlock + 1)}
		p.plain = append(p.plain, rest...)
		p.compress()
		h.rest, h.body = uint32(p.packed.Len())-h.clients, castagnoli(p.packed.Bytes())
		questions, err := new(unpacker).unpack(h, p.packed.Bytes(), nil)
		if err == nil && questions != nil && len(questions) != int(h.count) {
			t.Fatalf("%d questions of %d", len(questions), h.count)
		}
	})
}

const writerDir = "QUERYLOG_TEST_WRITER"

// TestMain is also the process that TestKill kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(writerDir); dir != "" {
		writeForever(dir)
	}
	os.Exit(m.Run())
}

// writeForever asks numbered questions, and says after each writing which the last one was that is written.
func writeForever(dir string) {
	from, _ := strconv.Atoi(os.Getenv(writerDir + "_FROM"))
	d := open(writerT{}, dir, fullSettings())
	for n := from; ; n++ {
		d.ask(pupil, fmt.Sprintf("n%d.example", n))
		if n%7 == 0 {
			d.mustTurn()
			fmt.Println(n)
		}
		d.now = d.now.Add(time.Second)
	}
}

// writerT stands for the test in the process that is killed.
type writerT struct{ testing.TB }

func (writerT) Helper()                  {}
func (writerT) Fatal(a ...any)           { panic(fmt.Sprint(a...)) }
func (writerT) Context() context.Context { return context.Background() }

// However often it is killed, what was written is there, in order, and each question once.
func TestKill(t *testing.T) {
	dir, random := t.TempDir(), rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	var written []string // what must be there
	from, damagedTails := 0, 0
	for range 25 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerDir+"="+dir, writerDir+"_FROM="+strconv.Itoa(from))
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		last := -1
		stop := 1 + random.IntN(200)
		for range stop {
			if !lines.Scan() {
				break
			}
			last, _ = strconv.Atoi(lines.Text())
		}
		for range random.IntN(2000) { // somewhere in what comes then
			_ = random.Uint64()
		}
		_ = cmd.Process.Kill()
		for lines.Scan() { // what it said before it was dead
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				last = n
			}
		}
		_ = cmd.Wait() // killed
		for n := from; n <= last; n++ {
			written = append(written, fmt.Sprintf("n%d.example", n))
		}
		from = last + 10_000
	}
	files, err := days(Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		file, s, err := f.open()
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if s.end != f.bytes {
			damagedTails++
		}
	}
	got := map[string]int{}
	for _, name := range names(t, dir, "10.20.3.4", time.Time{}, time.Time{}) {
		got[name]++
	}
	for _, name := range written {
		if got[name] != 1 {
			t.Fatalf("%s is there %d times", name, got[name])
		}
	}
	t.Logf("%d questions written by 25 processes that were killed, %d found, %d torn tails left at the end", len(written), len(got), damagedTails)
}
