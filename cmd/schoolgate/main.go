// Command schoolgate is a DNS filter for schools: it answers the DNS questions of a school's
// devices, blocks what the school's policy blocks, keeps a record of each attempt, and tells the
// people who must know.
//
// One binary does everything; a first argument says what. This file holds the table of commands and
// what they have in common: flags, which may stand anywhere, and exit codes, which are 0 when the
// thing is done, 1 when the answer is no, 2 for wrong use or a file that cannot be read. What a
// command was asked for goes to standard output, everything else to standard error, and nothing
// asks questions.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the school's clock, on a machine or in a container without zone files too

	"schoolgate/config"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}

// command is one row of the table of commands.
type command struct {
	name     string // "check", "lists status"
	args     string // its positional arguments, for people: "NAME [TYPE]"
	min, max int    // how many of them
	about    string
	// setup declares the command's flags and returns what runs once they are read.
	setup func(*flag.FlagSet) action
}

// action does the work of a command.
type action func(context.Context, *invocation) error

// invocation is one call of a command.
type invocation struct {
	stdin          io.Reader
	stdout, stderr io.Writer // inert
	env            func(string) string
	config         string   // --config, or ""
	args           []string // positional arguments
}

// manyArgs is more arguments than anybody writes.
const manyArgs = 1000

// commands is the table, in the order of `schoolgate help`.
func commands() []command {
	return []command{
		{"serve", "", 0, 0, "run the resolver", setupServe},
		{"demo", "", 0, 0, "run it on a made-up school day; needs no network", setupDemo},
		{"init", "[DIR]", 0, 1, "write a commented schoolgate.yaml to start from", setupInit},
		{"check", "", 0, 0, "validate the configuration and its lists", setupCheck},
		{"explain", "NAME [TYPE]", 1, 2, "show each step of the decision about a name", setupExplain},
		{"test", "FILE...", 1, manyArgs, "check that the policy answers as a file of tests expects", setupTest},
		{"lists status", "", 0, 0, "age, size and source of each list", setupListsStatus},
		{"lists update", "[LIST...]", 0, manyArgs, "fetch lists now, all or those that are named", setupListsUpdate},
		{"lists compile", "", 0, 0, "read the lists again from disk, without the configuration", setupListsCompile},
		{"lists confirm", "LIST", 1, 1, "end the trial of a list: it blocks from now on", setupListsConfirm},
		{"lists catalogue", "[TEXT]", 0, 1, "public lists that a configuration can name, all or those with a text", setupListsCatalogue},
		{"lists lint", "", 0, 0, "find bad lines and over-broad entries in the lists", setupListsLint},
		{"breaches list", "", 0, 0, "show the breach record", setupBreachesList},
		{"breaches export", "", 0, 0, "print the breach record as JSON lines or CSV", setupBreachesExport},
		{"queries list", "", 0, 0, "show what one client asked, where query_log is full; audited", setupQueriesList},
		{"queries counts", "", 0, 0, "show how many questions there were in each hour", setupQueriesCounts},
		{"incidents list", "", 0, 0, "show the incidents that are open, newest first", setupIncidentsList},
		{"incidents show", "ID", 1, 1, "show one with all that is known of it; each look is audited", setupIncidentsShow},
		{"incidents note", "ID", 1, 1, "write down what is done about an incident", setupIncidentsNote},
		{"incidents close", "ID", 1, 1, "close an incident with what came of it", setupIncidentsClose},
		{"incidents export", "ID", 1, 1, "write one as a bundle for a case system or the police", setupIncidentsExport},
		{"incidents unseal", "FILE", 1, 1, "open sealed names of a bundle, with the key of the named person", setupIncidentsUnseal},
		{"exceptions add", "", 0, 0, "let a name through, or block it, for a time", setupExceptionsAdd},
		{"exceptions list", "", 0, 0, "show the exceptions in force", setupExceptionsList},
		{"exceptions remove", "ID", 1, 1, "end an exception now", setupExceptionsRemove},
		{"clients list", "", 0, 0, "show who asks, and how much: no names", setupClientsList},
		{"only suggest", "GROUP", 1, 1, "propose names that a group's allow-list lacks for its pages", setupOnlySuggest},
		{"audit list", "", 0, 0, "show who changed what, when and why", setupAuditList},
		{"audit verify", "", 0, 0, "check that nobody has changed the record", setupAuditVerify},
		{"privacy export", "", 0, 0, "print what is kept of a client, for whoever asks for it", setupPrivacyExport},
		{"privacy erase", "", 0, 0, "erase what is kept of a client", setupPrivacyErase},
		{"selftest", "", 0, 0, "ask as each group does, and check that its policy holds; recorded", setupSelftest},
		{"report", "", 0, 0, "a period's report for safeguarding lead and governors", setupReport},
		{"alert test", "[RECEIVER]", 0, 1, "send a test alert and show how each receiver answered", setupAlertTest},
		{"alert retry", "ID", 1, 1, "try an alert again that was given up", setupAlertRetry},
		{"status", "", 0, 0, "show what runs", setupStatus},
		{"version", "", 0, 0, "show version, commit and Go version", setupVersion},
	}
}

// exitError ends the program with its code. A nil err says that everything has been said.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

// errNo is the answer no, already explained on standard output.
func errNo() error { return exitError{code: 1} }

// wrongUse is a mistake of the caller's.
func wrongUse(format string, args ...any) error {
	return exitError{2, fmt.Errorf(format, args...)}
}

// run is the program without its process: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, env func(string) string) int {
	stdout, stderr = &inert{to: stdout}, &inert{to: stderr}
	inv := &invocation{stdin: stdin, stdout: stdout, stderr: stderr, env: env}
	err := dispatch(ctx, inv, args)
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[exitError](err)
	if !ok {
		exit = exitError{code: 1, err: err}
	}
	if exit.err == nil {
		return exit.code
	}
	if problems, ok := errors.AsType[config.Errors](err); ok {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		return exit.code
	}
	fmt.Fprintf(stderr, "schoolgate: %v\n", err)
	return exit.code
}

// dispatch finds the command among the arguments, reads its flags, and runs it.
func dispatch(ctx context.Context, inv *invocation, args []string) error {
	table := commands()
	flags, words := split(args, booleanFlags(table))
	help := slices.ContainsFunc(flags, func(f string) bool { return f == "-h" || f == "-help" || f == "--help" })
	if len(words) > 0 && words[0] == "help" {
		help, words = true, words[1:]
	}
	if len(words) == 0 {
		switch {
		case help:
			overview(inv.stdout, table)
			return nil
		case slices.Contains(flags, "--version"), slices.Contains(flags, "-version"):
			words, flags = []string{"version"}, nil
		default:
			overview(inv.stderr, table)
			return exitError{code: 2}
		}
	}

	if help && len(words) == 1 {
		below := slices.DeleteFunc(slices.Clone(table), func(c command) bool { return !strings.HasPrefix(c.name, words[0]+" ") })
		if len(below) > 0 {
			fmt.Fprintf(inv.stdout, "Usage: schoolgate %s COMMAND [FLAGS] [ARGUMENTS]\n\n", words[0])
			list(inv.stdout, below)
			fmt.Fprintf(inv.stdout, "\n`schoolgate help %s COMMAND` shows a command's flags.\n", words[0])
			return nil
		}
	}
	c, rest, err := find(table, words)
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.StringVar(&inv.config, "config", "", "the configuration `FILE`; without it "+systemConfig+", or what is built in")
	do := c.setup(fs)
	if help {
		describe(inv.stdout, c, fs)
		return nil
	}
	if err := set(fs, flags); err != nil {
		return wrongUse("%s: %w (see `schoolgate help %s`)", c.name, err, c.name)
	}
	if len(rest) < c.min || len(rest) > c.max {
		return wrongUse("usage: %s", usage(c))
	}
	inv.args = rest
	return do(ctx, inv)
}

// find returns the command that the words begin with, and the words after it.
func find(table []command, words []string) (command, []string, error) {
	var below []string // second words of a first word that has some
	for _, c := range table {
		first, second, nested := strings.Cut(c.name, " ")
		switch {
		case first != words[0]:
		case !nested:
			return c, words[1:], nil
		case len(words) > 1 && words[1] == second:
			return c, words[2:], nil
		default:
			below = append(below, second)
		}
	}
	if below != nil {
		if len(words) == 1 {
			return command{}, nil, wrongUse("usage: schoolgate %s %s", words[0], strings.Join(below, "|"))
		}
		return command{}, nil, wrongUse("unknown command %q%s", words[0]+" "+words[1], suggest(words[1], below))
	}
	var names []string
	for _, c := range table {
		first, _, _ := strings.Cut(c.name, " ")
		names = append(names, first)
	}
	return command{}, nil, wrongUse("unknown command %q%s", words[0], suggest(words[0], names))
}

// split tells flags from words, so that flags may stand anywhere. A flag that is not boolean takes
// the argument behind it, and nothing behind "--" is a flag.
func split(args []string, boolean map[string]bool) (flags, words []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return flags, append(words, args[i+1:]...)
		}
		if len(arg) < 2 || arg[0] != '-' {
			words = append(words, arg)
			continue
		}
		flags = append(flags, arg)
		name := strings.TrimPrefix(arg[1:], "-")
		if !strings.Contains(name, "=") && !boolean[name] && i+1 < len(args) {
			i++
			flags = append(flags, args[i])
		}
	}
	return flags, words
}

// booleanFlags returns the names of the flags that take no value, of all commands: a name means the
// same in each of them.
func booleanFlags(table []command) map[string]bool {
	boolean := map[string]bool{"h": true, "help": true, "version": true}
	for _, c := range table {
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.setup(fs)
		fs.VisitAll(func(f *flag.Flag) {
			if isBoolean(f) {
				boolean[f.Name] = true
			}
		})
	}
	return boolean
}

// set reads the flags that split has found into fs. The errors are in the words of a command line.
func set(fs *flag.FlagSet, flags []string) error {
	for i := 0; i < len(flags); i++ {
		name, value, given := strings.Cut(strings.TrimPrefix(flags[i][1:], "-"), "=")
		f := fs.Lookup(name)
		switch {
		case f == nil:
			return fmt.Errorf("there is no flag --%s", name)
		case given:
		case isBoolean(f):
			value = "true"
		case i+1 < len(flags):
			i++
			value = flags[i]
		}
		if value == "" {
			return fmt.Errorf("--%s needs a value", name)
		}
		if f.Value.Set(value) != nil {
			kind := "true or false"
			switch f.Value.(flag.Getter).Get().(type) {
			case uint64:
				kind = "a number"
			case time.Duration:
				kind = "a length of time, such as 45s"
			}
			return fmt.Errorf("--%s: %q is not %s", name, value, kind)
		}
	}
	return nil
}

func isBoolean(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func overview(w io.Writer, table []command) {
	fmt.Fprint(w, "schoolgate is a DNS filter for schools.\n\nUsage: schoolgate COMMAND [FLAGS] [ARGUMENTS]\n\n")
	list(w, table)
	fmt.Fprintf(w, "\nEvery command takes --config FILE; without it, %s if that exists, else\n"+
		"what is built in. `schoolgate help COMMAND` shows a command's flags.\n\n"+
		"Exit codes: 0 done, with warnings too; 1 the answer is no; 2 wrong use, or a file that\ncannot be read.\n", systemConfig)
}

func list(w io.Writer, table []command) {
	for _, c := range table {
		fmt.Fprintf(w, "  %-24s %s\n", strings.TrimSpace(c.name+" "+c.args), c.about)
	}
}

func describe(w io.Writer, c command, fs *flag.FlagSet) {
	fmt.Fprintf(w, "Usage: %s\n\n%s\n\nFlags, anywhere on the line:\n", usage(c), strings.ToUpper(c.about[:1])+c.about[1:]+".")
	fs.VisitAll(func(f *flag.Flag) {
		if c.name == "demo" && f.Name == "config" {
			return // it has one of its own, and says so
		}
		value, about := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			about += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(w, "  %-24s %s\n", strings.TrimSpace("--"+f.Name+" "+value), about)
	})
}

func usage(c command) string {
	return strings.TrimSpace("schoolgate " + c.name + " [FLAGS] " + c.args)
}

// suggest returns " (did you mean …?)" where one of the names is near to the word.
func suggest(word string, names []string) string {
	best := nearest(word, names)
	if !isNear(word, best) {
		return " (see `schoolgate help`)"
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// isNear reports whether a word may be a name mistyped.
func isNear(word, name string) bool { return distance(word, name) <= 1+len(word)/3 }

// nearest is the one of some names that is most like the word.
func nearest(word string, names []string) string {
	return slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(word, a), distance(word, b)) })
}

// distance counts the letters to insert, remove or change to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
