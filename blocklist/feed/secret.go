package feed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	ascii "filippo.io/age/armor" //nolint:misspell // is its name
)

// Identity is the age key of confidential lists: who has it can read what is kept of them.
type Identity struct {
	all       []age.Identity
	recipient age.Recipient
	public    string
}

// ParseIdentity reads the text of a file as age-keygen writes it: one secret key a line
// (AGE-SECRET-KEY-1… or AGE-SECRET-KEY-PQ-1…); empty lines and lines that begin with # don't count. Each
// of the keys decrypts, so that keys can be changed; the first encrypts. The error has nothing of the text.
func ParseIdentity(text []byte) (*Identity, error) {
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("not an age identity: make one with age-keygen")
	}
	switch first := all[0].(type) {
	case *age.X25519Identity:
		return &Identity{all: all, recipient: first.Recipient(), public: first.Recipient().String()}, nil
	case *age.HybridIdentity:
		return &Identity{all: all, recipient: first.Recipient(), public: first.Recipient().String()}, nil
	}
	return nil, fmt.Errorf("an age identity of type %T cannot encrypt: make one with age-keygen", all[0])
}

// String returns the public key, to which lists may be encrypted: age1….
func (i *Identity) String() string { return i.public }

// What an encrypted file begins with.
const (
	ageMagic   = "age-encryption.org/v1\n"
	asciiMagic = ascii.Header
)

var (
	errNoIdentity = errors.New("encrypted with age, and there is no key to decrypt it with: set confidential_key")
	errOtherKey   = errors.New("encrypted with age, but not to the key of confidential_key")
)

// isEncrypted reports whether what in has begins as an encrypted file does.
func isEncrypted(in *bufio.Reader) bool {
	head, _ := in.Peek(max(len(ageMagic), len(asciiMagic))) // what is shorter is neither
	return bytes.HasPrefix(head, []byte(ageMagic)) || bytes.HasPrefix(head, []byte(asciiMagic))
}

// decrypt returns the text of an encrypted file. What is read was not changed since it was encrypted; that
// nothing is missing is sure at io.EOF.
func (i *Identity) decrypt(in *bufio.Reader) (io.Reader, error) {
	if i == nil {
		return nil, errNoIdentity
	}
	head, _ := in.Peek(len(asciiMagic))
	var r io.Reader = in
	if string(head) == asciiMagic {
		r = ascii.NewReader(in)
	}
	text, err := age.Decrypt(r, i.all...)
	if none := new(age.NoIdentityMatchError); errors.As(err, &none) {
		return nil, fmt.Errorf("%w: encrypt it to %s", errOtherKey, i)
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return text, nil
}

// encrypt returns a writer whose Close must be checked, and leaves w open.
func (i *Identity) encrypt(w io.Writer) (io.WriteCloser, error) {
	if i == nil {
		return nil, errNoIdentity
	}
	return age.Encrypt(w, i.recipient)
}
