//go:build e2e

package e2e_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// How large the lists of the tests of large lists are. For what is promised of five million:
//
//	go test -tags e2e ./cmd/schoolgate/e2e -run Millions -names-file LIST-5M.txt -qps 20000 -v
var (
	nameCount = flag.Int("names", 250_000, "names of the made-up list")
	listFile  = flag.String("names-file", "", "a file with names, one a line, instead of the made-up list")
	rate      = flag.Int("qps", 2000, "questions a second of the reload under load")
)

// millions is a list of many names, and some of them, from its first to its last.
func millions(t *testing.T) (list []byte, some []string) {
	t.Helper()
	if *listFile != "" {
		var err error
		if list, err = os.ReadFile(*listFile); err != nil {
			t.Fatal(err)
		}
		list = append(bytes.TrimRight(list, "\n"), '\n')
	} else {
		random := rand.New(rand.NewPCG(2026, 9))
		syllables := strings.Fields("ba de fi go hu ka le mi no pu ra se ti vo zu blog cam chat shop star")
		tlds := strings.Fields("com com com com net org info ru de xyz co.uk top")
		for i := range *nameCount {
			for range 3 + random.IntN(4) {
				list = append(list, syllables[random.IntN(len(syllables))]...)
			}
			list = fmt.Appendf(list, "%x.%s\n", i, tlds[random.IntN(len(tlds))])
		}
	}
	lines := bytes.Split(bytes.TrimRight(list, "\n"), []byte("\n"))
	for i := range 1000 {
		some = append(some, string(lines[i*(len(lines)-1)/999]))
	}
	return list, some
}

// bigSite is a school with a list of millions and a small one beside it. It blocks "ruled.example" without any
// list.
type bigSite struct {
	*site
	big, small string   // the files
	some       []string // of the names in big
}

const ruled = "ruled.example"

func newBigSite(t *testing.T) *bigSite {
	t.Helper()
	s := &bigSite{site: newSite(t, `
categories:
  big: {severity: none, lists: [{path: big.txt}]}
  small: {severity: none, lists: [{path: small.txt}]}
groups: {pupils: {clients: [127.20.0.0/16], block: [big, small]}}
default_group: pupils
rules: [{block: [ruled.example], reason: a test, severity: none}]
`)}
	list, some := millions(t)
	s.some = some
	s.big, s.small = filepath.Join(s.dir, "etc", "big.txt"), filepath.Join(s.dir, "etc", "small.txt")
	write(t, s.big, string(list))
	write(t, s.small, smallList("edit-000.example"))
	s.makeOld(t, s.big)
	s.makeOld(t, s.small)
	return s
}

// smallList has a thousand names, and one that changes.
func smallList(name string) string {
	list := new(strings.Builder)
	for i := range 1000 {
		fmt.Fprintf(list, "site%d.small.example\n", i)
		if i == 500 {
			fmt.Fprintln(list, name)
		}
	}
	return list.String()
}

// makeOld gives a file a time at which it has rested: then it counts as read when it is as it was.
func (s *bigSite) makeOld(t *testing.T, path string) {
	t.Helper()
	at := time.Date(2026, 9, 1, 8, 0, 0, 0, time.UTC)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// untilBlocked asks for a name until it is blocked, two minutes at most.
func (s *site) untilBlocked(t *testing.T, name string) {
	t.Helper()
	q := question(name, 1, false)
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		answer, err := s.ask("udp", pupil, q)
		if err == nil && answer[3]&15 == 3 {
			return
		}
		if s.ended() {
			t.Fatalf("schoolgate ended: %s", s.said)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not blocked: %x, %v", name, answer, err)
		}
	}
}

// isBlocked asks for a name once.
func (s *site) isBlocked(t *testing.T, name string) bool {
	t.Helper()
	answer, err := s.ask("udp", pupil, question(name, 1, false))
	if err != nil {
		t.Fatal(err)
	}
	return answer[3]&15 == 3
}

// launchUntilBlocked starts the program and returns how long it takes until the first name is blocked.
func (s *site) launchUntilBlocked(t *testing.T, name string) time.Duration {
	t.Helper()
	began := time.Now()
	s.launch(t)
	s.untilBlocked(t, name)
	return time.Since(began)
}

// memory is what the program has in memory, and the most it has had, in bytes.
func (s *site) memory(t *testing.T) (resident, peak int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	field := func(name string) int64 {
		m := regexp.MustCompile(name + `:\s+(\d+) kB`).FindSubmatch(status)
		if m == nil {
			t.Fatalf("no %s in %s", name, status)
		}
		kb, err := strconv.ParseInt(string(m[1]), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kb << 10
	}
	return field("VmRSS"), field("VmHWM")
}

// resetPeak has the peak begin anew (proc(5), clear_refs).
func (s *site) resetPeak(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.cmd.Process.Pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

func mb(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// plainRead is how long reading files takes that were read before.
func plainRead(t *testing.T, paths ...string) (time.Duration, int64) {
	t.Helper()
	began, size := time.Now(), int64(0)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		size += int64(len(data))
	}
	return time.Since(began), size
}

func TestMillionsOfNamesAreCompiledOnceAndAStartReadsWhatWasCompiled(t *testing.T) {
	s := newBigSite(t)
	first, last := s.some[0], s.some[len(s.some)-1]

	var table strings.Builder
	row := func(what string, took time.Duration, note string) {
		fmt.Fprintf(&table, "%-50s %8.3f s  %s\n", what, took.Seconds(), note)
	}
	measure := func(what, name string) (resident int64) {
		took := s.launchUntilBlocked(t, name)
		s.untilReady(t)
		resident, peak := s.memory(t)
		row(what, took, fmt.Sprintf("resident %s, peak %s", mb(resident), mb(peak)))
		return resident
	}

	measure("start, nothing compiled, to the first block", last)
	s.checkSome(t)
	compiled, err := filepath.Glob(filepath.Join(s.dataDir(), "lists", "*.part"))
	if err != nil || len(compiled) == 0 {
		t.Fatalf("no snapshot: %v", err)
	}
	s.stop(t)

	// The same size and time, other names: who does not read the file again does not see it.
	list, err := os.ReadFile(s.big)
	if err != nil {
		t.Fatal(err)
	}
	s.overwrite(t, s.big, bytes.Map(func(c rune) rune {
		if 'a' <= c && c <= 'z' {
			return 'a' + ('z' - c)
		}
		return c
	}, list))
	with := measure("start with what was compiled, to the first block", first)
	s.checkSome(t)
	if l := s.list(t, "big.txt"); l.State != "loaded" {
		t.Errorf("lists status: %+v", l)
	}
	s.kill(t)
	s.overwrite(t, s.big, list)

	took, size := plainRead(t, compiled...)
	row("plain read of what was compiled", took, mb(size))
	took, size = plainRead(t, s.big)
	row("plain read of the list", took, mb(size))

	yaml, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.config, regexp.MustCompile(`lists: \[\{path.*\}\]`).ReplaceAllString(string(yaml), "lists: []"))
	without := measure("start without a list, to the first block", ruled)
	s.stop(t)
	t.Logf("%d names\n%sthe lists take %s of memory", bytes.Count(list, []byte("\n")), &table, mb(with-without))
}

// overwrite replaces the bytes of a file with as many others, and nothing else about it that shows.
func (s *bigSite) overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	s.makeOld(t, path)
	if after, err := os.Stat(path); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) || !os.SameFile(before, after) {
		t.Fatalf("the file shows that it was changed: %v, %v, %v", before, after, err)
	}
}

// checkSome checks that names of the big list are blocked, and those beside them are not.
func (s *bigSite) checkSome(t *testing.T) {
	t.Helper()
	for i, name := range s.some {
		if !s.isBlocked(t, name) {
			t.Fatalf("%s is not blocked", name)
		}
		if i%10 == 0 && s.isBlocked(t, "not-"+strings.ReplaceAll(name, ".", "-")+".test.example") {
			t.Fatalf("not-%s is blocked", name)
		}
	}
}

func TestEachOfAHundredEditsBesideMillionsOfNamesHoldsAndCostsNoMemory(t *testing.T) {
	s := newBigSite(t)
	s.launchUntilBlocked(t, s.some[0])
	s.untilReady(t)
	s.stop(t) // what compiling took is not what it needs
	s.launchUntilBlocked(t, s.some[0])
	s.untilReady(t)
	edit := func(n int) time.Duration {
		name := fmt.Sprintf("edit-%03d.example", n)
		began := time.Now()
		write(t, s.small, smallList(name))
		s.reload(t)
		s.untilBlocked(t, name)
		took := time.Since(began)
		if before := fmt.Sprintf("edit-%03d.example", n-1); s.isBlocked(t, before) {
			t.Fatalf("%s was taken out and is blocked", before)
		}
		return took
	}
	const edits = 100
	steady, _ := s.memory(t)
	s.resetPeak(t)
	var took []time.Duration
	var resident []int64
	for n := range edits {
		took = append(took, edit(n+1))
		now, _ := s.memory(t)
		resident = append(resident, now)
	}
	_, peak := s.memory(t)
	s.checkSome(t)
	early, late := slices.Max(resident[:10]), slices.Max(resident[edits-10:])
	slices.Sort(took)
	t.Logf("%d edits: median %v, worst %v\nresident before %s, most in the first ten %s, most in the last ten %s\npeak %s, %.2f times what it was before",
		edits, took[edits/2], took[edits-1], mb(steady), mb(early), mb(late), mb(peak), float64(peak)/float64(steady))

	const few = 8 << 20
	most := steady * 13 / 10
	if info, err := os.Stat(s.big); err == nil && info.Size() < 16<<20 {
		most += few // beside a short list, what any reload takes shows
	}
	if peak > most {
		t.Errorf("the peak is %s, more than %s", mb(peak), mb(most))
	}
	if late > early+few {
		t.Errorf("it grew from %s in the first ten edits to %s in the last ten", mb(early), mb(late))
	}
}

func TestNoAnswerIsLostWhileMillionsOfNamesAreReloaded(t *testing.T) {
	s := newBigSite(t)
	s.launchUntilBlocked(t, s.some[0])
	s.untilReady(t)

	// Nine of ten questions are for blocked names, one is for a name that the cache has.
	questions := new(strings.Builder)
	for i, name := range s.some {
		if i%10 == 0 {
			name = fmt.Sprintf("allowed%d.example", i)
			s.isBlocked(t, name)
		}
		fmt.Fprintf(questions, "%s A\nwww.%s A\n", name, name)
	}
	path := filepath.Join(s.dir, "questions")
	write(t, path, questions.String())
	load := exec.Command("dnsperf", "-s", "127.0.0.1", "-p", strconv.Itoa(s.dns), "-a", pupil,
		"-d", path, "-Q", strconv.Itoa(*rate), "-c", "4", "-l", "300")
	out := new(syncBuffer)
	load.Stdout, load.Stderr = out, out
	if err := load.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	end := func() {
		once.Do(func() {
			_ = load.Process.Signal(os.Interrupt) // it waits for its answers, and reports
			_ = load.Wait()
		})
	}
	t.Cleanup(end)

	asked := func() float64 {
		return s.metric(t, `schoolgate_queries_total{group="pupils",outcome="blocked",transport="udp"}`)
	}
	before := asked()
	waitFor(t, "the load", func() bool { return asked() > before+float64(*rate)/2 })
	list, err := os.ReadFile(s.big)
	if err != nil {
		t.Fatal(err)
	}
	s.resetPeak(t)
	steady, _ := s.memory(t)
	var took []string
	for n := range 3 {
		name := fmt.Sprintf("edit%d.example", n)
		began := time.Now()
		write(t, s.big, string(list)+name+"\n")
		s.reload(t)
		s.untilBlocked(t, name)
		took = append(took, time.Since(began).Round(time.Millisecond).String())
		if n > 0 && s.isBlocked(t, fmt.Sprintf("edit%d.example", n-1)) {
			t.Errorf("edit%d.example is blocked still", n-1)
		}
	}
	answered := asked()
	waitFor(t, "the load after the reloads", func() bool { return asked() > answered+float64(*rate)/2 })
	end()
	_, peak := s.memory(t)
	t.Logf("reloads of the large list took %s; resident %s before, peak %s\n%s", strings.Join(took, ", "), mb(steady), mb(peak), out)

	lost := regexp.MustCompile(`Queries lost:\s+(\d+)`).FindStringSubmatch(out.String())
	if lost == nil || lost[1] != "0" {
		t.Errorf("answers were lost: %s", lost)
	}
	codes := regexp.MustCompile(`Response codes:\s+(.*)`).FindStringSubmatch(out.String())
	if codes == nil {
		t.Fatal("dnsperf does not say what was answered")
	}
	for part := range strings.SplitSeq(codes[1], ",") {
		if code := strings.Fields(part)[0]; code != "NOERROR" && code != "NXDOMAIN" {
			t.Errorf("answered with %s", strings.TrimSpace(part))
		}
	}
}
