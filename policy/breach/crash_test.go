package breach

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// recorderEnv, when set to a path, makes the test binary a process that records until it is killed.
const recorderEnv = "SCHOOLGATE_TEST_RECORDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(recorderEnv); path != "" {
		if err := recorder(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// recorder records a new name and three repeats of it each time that it is told to by a line, and says
// so with a line once Record has returned. To an empty line it says when nothing waits to be stored any more.
func recorder(path string) error {
	l, err := Open(Options{
		Path: path, Settings: Settings{Quiet: time.Minute}, Router: &router{},
		System: func(message string) { fmt.Println(message) }, // in place of "recorded": a false alarm
	})
	if err != nil {
		return err
	}
	go func() {
		fmt.Fprintln(os.Stderr, "the record ended:", l.Run(context.Background()))
	}()
	p := school(new(testing.B), nil)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if lines.Text() == "" {
			for l.queue.waiting() > 0 {
				time.Sleep(time.Millisecond)
			}
			fmt.Println("stored")
			continue
		}
		e := ask(new(testing.B), p, pupil, lines.Text(), time.Now())
		for range 4 {
			l.Record(e)
		}
		fmt.Println("recorded")
	}
	return lines.Err()
}

func TestWhatWasRecordedSurvivesKill9(t *testing.T) {
	t.Parallel() // it waits most of the time
	executable, err := os.Executable()
	must(t, err)
	path := filepath.Join(t.TempDir(), "breach.db")
	ids := map[string]bool{}
	behind := 0
	for life := range 4 {
		process := exec.CommandContext(t.Context(), executable)
		process.Env = append(os.Environ(), recorderEnv+"="+path)
		process.Stderr = os.Stderr
		in, err := process.StdinPipe()
		must(t, err)
		out, err := process.StdoutPipe()
		must(t, err)
		must(t, process.Start())
		said := bufio.NewScanner(out)
		untilStored := func() { // BenchmarkDurable says how long that takes
			fmt.Fprintln(in)
			if !said.Scan() || said.Text() != "stored" {
				t.Fatalf("the process said %q: %v", said.Text(), said.Err())
			}
		}
		for i := range 3 {
			// All but the first are of names known from the life before.
			fmt.Fprintf(in, "n%d.pornography.example\n", life+i)
			if !said.Scan() || said.Text() != "recorded" {
				t.Fatalf("the process said %q: %v", said.Text(), said.Err())
			}
			if i == 0 {
				untilStored()
				for _, err := os.Stat(headPath(path)); err != nil; _, err = os.Stat(headPath(path)) { // it will be behind
					time.Sleep(time.Millisecond)
				}
			}
		}
		untilStored()
		must(t, process.Process.Kill())
		if err := process.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the process ended with %v", err)
		}

		all := breaches(t, path, Filter{})
		total := int64(0)
		for _, b := range all {
			total += b.Count
		}
		if want := int64(12 * (life + 1)); len(all) != life+3 || total != want {
			t.Errorf("after life %d there are %d breaches, counted %d; want %d, counted %d", life, len(all), total, life+3, want)
		}
		head := verify(t, path)
		text, err := os.ReadFile(headPath(path))
		must(t, err)
		kept, err := parseHead(string(text))
		must(t, err)
		if kept.seq > head.Seq {
			t.Errorf("the head file is at %d, ahead of %d", kept.seq, head.Seq)
		}
		if kept.seq < head.Seq {
			behind++
		}
		db := raw(t, path)
		var id string
		must(t, db.QueryRowContext(t.Context(), "SELECT id FROM outbox WHERE type = 'incident.opened'").Scan(&id))
		ids[id] = true
	}
	if count(t, path, "audit") != 0 {
		t.Error("a record was taken for another one")
	}
	if behind == 0 {
		t.Error("the head file was never behind")
	}
	if len(ids) != 1 {
		t.Errorf("the alert of one incident had the ids %v", ids)
	}
}
