package config

import (
	"strings"

	"schoolgate/policy/breach"
)

// sealed is to whom the names of confidential categories are kept encrypted.
type sealed struct {
	place
	to     value[*breach.Seal]
	person value[string]
}

func (s *sealed) fields() []field {
	return []field{
		{
			key: "to", kind: one(&s.to, publicKey()), need: true,
			doc: "The person's public key: the line `age1…` that `age-keygen` prints. The secret one stays with the person, off this machine",
		},
		{key: "person", kind: one(&s.person, text()), need: true, doc: "Whose key it is: `Head teacher`"},
	}
}

func publicKey() scalar[*breach.Seal] {
	return scalar[*breach.Seal]{
		words: "public key of age", schema: object{"type": "string", "pattern": "^age1"},
		parse: func(s string) (*breach.Seal, error) {
			seal, err := breach.NewSeal(s, "")
			if err != nil {
				return nil, wrong("", "%s", err)
			}
			return seal, nil
		},
	}
}

// seal is to whom confidential names are sealed; nil: to nobody.
func (c *checker) seal() *breach.Seal {
	s := &c.sealed
	if s.to.v == nil || s.person.v == "" {
		return nil
	}
	if c.cfg.Identity != nil && c.cfg.Identity.String() == s.to.v.Recipient {
		c.fail(s.to.place, "have the person make a pair with age-keygen, on a machine of their own", "this machine has the secret key to it: confidential_key")
	}
	if strings.ContainsAny(s.person.v, "\n\t") {
		c.fail(s.person.place, "", "is more than one line")
	}
	seal := *s.to.v
	seal.Person = s.person.v
	return &seal
}
