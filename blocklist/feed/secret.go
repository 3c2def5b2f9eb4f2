package feed

import (
	"bytes"
	"errors"
	"fmt"

	"filippo.io/age"
)

// Identity is the key of confidential lists. What it encrypts, it and whoever else has the key can
// read.
type Identity struct {
	all       []age.Identity
	recipient age.Recipient
}

// ParseIdentity reads a file as age-keygen writes it: one secret key a line (AGE-SECRET-KEY-1… or
// AGE-SECRET-KEY-PQ-1…), empty lines and lines that begin with # aside. All of them decrypt, so that
// keys can be changed; the first encrypts. The error holds nothing of the text.
func ParseIdentity(text []byte) (*Identity, error) {
	all, err := age.ParseIdentities(bytes.NewReader(text))
	if err != nil {
		return nil, errors.New("not an age identity: make one with age-keygen")
	}
	switch first := all[0].(type) {
	case *age.X25519Identity:
		return &Identity{all: all, recipient: first.Recipient()}, nil
	case *age.HybridIdentity:
		return &Identity{all: all, recipient: first.Recipient()}, nil
	}
	return nil, fmt.Errorf("an age identity of type %T cannot encrypt: make one with age-keygen", all[0])
}
