package breach

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// Seal says to whom the names of confidential categories are kept encrypted. It can't open what it seals.
type Seal struct {
	Recipient string // the public key: age1…
	Person    string // whose key it is
	to        age.Recipient
}

// NewSeal reads the public key of a person. The error says nothing of a key that is not public.
func NewSeal(recipient, person string) (*Seal, error) {
	recipient = strings.TrimSpace(recipient)
	switch {
	case strings.HasPrefix(strings.ToUpper(recipient), "AGE-SECRET-KEY-"):
		return nil, errors.New("this is the secret key, which must not be here: take it out, have a new pair made, and write the line that begins with age1")
	case strings.ContainsAny(recipient, "\r\n"):
		return nil, errors.New("this is more than one line; one key is wanted")
	}
	found, err := age.ParseRecipients(strings.NewReader(recipient))
	if err != nil || len(found) != 1 {
		return nil, errors.New("this is not the public key of an age identity: age1…, as age-keygen prints it")
	}
	s := &Seal{Recipient: recipient, Person: person, to: found[0]}
	_, err = s.seal(nil) // what can't encrypt is found now
	return s, err
}

// String returns who can open what is sealed, for people.
func (s *Seal) String() string {
	if s == nil {
		return "nobody"
	}
	return s.Person + " (" + s.Recipient + ")"
}

// sealPad is the least size of what is encrypted, in bytes: more than one name with all about it. The size is a
// power of two, so that nothing of the length of a name shows in that of the ciphertext.
const sealPad = 4096

// seal encrypts lines, padded with blanks.
func (s *Seal) seal(lines []byte) ([]byte, error) {
	size := sealPad
	for size < len(lines)+1 {
		size *= 2
	}
	padded := bytes.Repeat([]byte{' '}, size)
	copy(padded, lines)
	padded[size-1] = '\n'
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, s.to)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(padded); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed.Bytes(), nil
}

// SealedName is a line of what is sealed.
type SealedName struct {
	Incident string `json:"incident"` // ULID
	Breach   string `json:"breach"`   // ULID
	Seq      int64  `json:"seq"`      // of the breach
	Time     string `json:"time"`     // RFC 3339 with milliseconds, UTC
	Name     string `json:"name"`     // as Query.Name
	Type     string `json:"type"`     // as Query.Type
	// Target is what matched where it is not the name itself: a name that the answer leads to, or an address in it.
	Target string `json:"target,omitempty"`
}

// sealing is what one transaction is to seal of one incident.
type sealing struct {
	incident    *incident
	first, last int64 // seqs of breaches
	lines       bytes.Buffer
}

// sealName takes the name of a breach of a confidential category, to be sealed at the end of the transaction.
func (t *turn) sealName(r *breachRow, seq int64, e *pending, key breachKey, i *incident) error {
	if t.Seal == nil {
		return nil
	}
	s := t.sealings[i]
	if s == nil {
		s = &sealing{incident: i, first: seq}
		if t.sealings == nil {
			t.sealings = map[*incident]*sealing{}
		}
		t.sealings[i] = s
		t.sealed = append(t.sealed, s)
	}
	s.last = seq
	n := SealedName{
		Incident: i.id, Breach: r.id, Seq: seq, Time: Filter{}.stamp(e.Time.UnixMilli()), Name: withDot(key.name), Type: r.qtype,
	}
	switch {
	case e.Target != "":
		n.Target = withDot(e.Target.String())
	case e.Address.IsValid():
		n.Target = e.Address.String()
	}
	encoder := json.NewEncoder(&s.lines)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(n)
}

// storeSealed appends what is to be sealed: one row for each incident, so that a flood of names costs one encryption for
// each device and transaction, some 0.5 ms.
func (t *turn) storeSealed(ctx context.Context) error {
	for _, s := range t.sealed {
		r := sealedRow{incident: s.incident.seq, first: s.first, last: s.last, recipient: t.Seal.Recipient, person: t.Seal.Person}
		var err error
		if r.ciphertext, err = t.Seal.seal(s.lines.Bytes()); err != nil {
			return err
		}
		salt := newSalt()
		next := t.link.next(&r, salt)
		_, err = t.store.exec(ctx, "INSERT INTO sealed VALUES ("+placeholders(9)+")",
			next.seq, r.incident, r.first, r.last, r.recipient, r.person, r.ciphertext, salt, next.hash[:])
		if err != nil {
			return err
		}
		t.link = next
	}
	return nil
}

// ErrOtherKey says that something was sealed to another key.
var ErrOtherKey = errors.New("it was sealed to another key")

// Unseal opens what was sealed, with the text of a file as age-keygen writes it. The error wraps ErrOtherKey where none of its
// keys is the one.
func Unseal(sealed io.Reader, identity []byte) ([]SealedName, error) {
	keys, err := age.ParseIdentities(bytes.NewReader(identity))
	if err != nil {
		return nil, errors.New("the key file is not one that age-keygen made: it has a line that begins with AGE-SECRET-KEY-")
	}
	in, err := age.Decrypt(sealed, keys...)
	if none := new(age.NoIdentityMatchError); errors.As(err, &none) {
		return nil, ErrOtherKey
	}
	if err != nil {
		return nil, fmt.Errorf("open the seal: %w", err)
	}
	names := []SealedName{}
	for decoder := json.NewDecoder(in); ; {
		var n SealedName
		switch err := decoder.Decode(&n); {
		case errors.Is(err, io.EOF):
			return names, nil
		case err != nil:
			return nil, fmt.Errorf("open the seal: %w", err)
		}
		names = append(names, n)
	}
}
