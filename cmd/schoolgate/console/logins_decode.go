package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// login is one of what is sent to /api/v1/logins, as it was sent.
type login struct {
	User    string `json:"user"`
	IP      string `json:"ip"`
	MAC     string `json:"mac"`
	Event   string `json:"event"`
	Time    string `json:"time"`
	Session string `json:"session"`
}

// keys are the keys of a login, in the order in which they are told.
func (l *login) keys() ([]string, []*string) {
	return []string{"user", "ip", "mac", "event", "time", "session"}, []*string{&l.User, &l.IP, &l.MAC, &l.Event, &l.Time, &l.Session}
}

const (
	maxLogins     = 1000
	maxLoginsBody = 512 << 10 // a thousand of 500 octets
)

// parseLogins reads an object, or a list of them. Unlike encoding/json it takes a key as it is spelt, and once, and
// nothing but strings: what somebody got wrong should not look as if it had been understood.
func parseLogins(body []byte) ([]login, *problem) {
	if !utf8.Valid(body) {
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the body is not UTF-8"}
	}
	p := loginParser{dec: json.NewDecoder(bytes.NewReader(body))}
	logins, err := p.all()
	if err == nil {
		if _, end := p.dec.Token(); !errors.Is(end, io.EOF) {
			err = syntaxError{"there is something behind the end"}
		}
	}
	if _, isSyntax := errors.AsType[syntaxError](err); isSyntax {
		return nil, &problem{Status: http.StatusBadRequest, Detail: "the body is not JSON: " + err.Error()}
	}
	if err != nil {
		return nil, &problem{Status: http.StatusUnprocessableEntity, Detail: err.Error()}
	}
	return logins, nil
}

// syntaxError says that a body is not JSON at all.
type syntaxError struct{ what string }

func (e syntaxError) Error() string { return e.what }

type loginParser struct {
	dec *json.Decoder
	at  int // which login is read; -1: the only one
}

// fail says what is wrong, and with which login.
func (p *loginParser) fail(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if p.at < 0 {
		return errors.New(what)
	}
	return fmt.Errorf("[%d]: %s", p.at, what)
}

func (p *loginParser) token() (json.Token, error) {
	t, err := p.dec.Token()
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, syntaxError{"it ends too soon"}
	case err != nil:
		return nil, syntaxError{err.Error()}
	}
	return t, nil
}

func (p *loginParser) all() ([]login, error) {
	p.at = -1
	t, err := p.token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		one, err := p.one()
		return []login{one}, err
	case json.Delim('['):
	default:
		return nil, p.fail("want an object, or a list of objects")
	}
	var logins []login
	for p.at = 0; p.dec.More(); p.at++ {
		if p.at == maxLogins {
			return nil, errors.New("more than 1000 at once")
		}
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		if t != json.Delim('{') {
			return nil, p.fail("want an object")
		}
		one, err := p.one()
		if err != nil {
			return nil, err
		}
		logins = append(logins, one)
	}
	if _, err := p.token(); err != nil { // the bracket
		return nil, err
	}
	if len(logins) == 0 {
		return nil, errors.New("the list is empty")
	}
	return logins, nil
}

// one reads the rest of an object.
func (p *loginParser) one() (l login, err error) {
	keys, values := l.keys()
	var seen [8]bool
	for p.dec.More() {
		t, err := p.token()
		if err != nil {
			return login{}, err
		}
		key, _ := t.(string) // keys are nothing else
		i := slices.Index(keys, key)
		switch {
		case i < 0:
			return login{}, p.fail("unknown key %q: there are %s", short(key), strings.Join(keys, ", "))
		case seen[i]:
			return login{}, p.fail("%s is written twice", key)
		}
		seen[i] = true
		if t, err = p.token(); err != nil {
			return login{}, err
		}
		text, isText := t.(string)
		if !isText {
			return login{}, p.fail("%s: want a string", key)
		}
		*values[i] = text
	}
	if _, err := p.token(); err != nil { // the brace
		return login{}, err
	}
	return l, nil
}

// short is the beginning of what somebody sent, to be told back.
func short(s string) string {
	const most = 40
	for i := range s {
		if i >= most {
			return s[:i] + "…"
		}
	}
	return s
}
