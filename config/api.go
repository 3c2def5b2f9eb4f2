package config

import (
	"crypto/sha256"
	"net/netip"
	"strings"
)

// Token lets a program of the school's use /api/v1.
type Token struct {
	Name string
	Role Role
	// Hash is the SHA-256 of the token: what it is compared by, in a time that tells nothing of it.
	Hash [sha256.Size]byte
}

// Role is what a token is for.
type Role string

// RoleSignIn tells who has signed in, and may do nothing else.
const RoleSignIn Role = "signin"

type api struct {
	place
	tokens []token
}

func (a *api) fields() []field {
	return []field{
		{
			key: "tokens", kind: named(&a.tokens),
			doc: "Programs that may use it, each with its token: `head -c 32 /dev/urandom | base64`. With the first one `listen.console` is opened",
		},
	}
}

type token struct {
	name
	role       value[string]
	secretFile value[string]
	secretEnv  value[string]
}

func (t *token) fields() []field {
	return []field{
		{key: "role", kind: one(&t.role, enum(string(RoleSignIn))), need: true, doc: "`signin` tells who has signed in (`POST /api/v1/logins`), and may do nothing else"},
		{key: "secret_file", kind: one(&t.secretFile, filePath()), doc: "File with the token, of 32 random characters or more"},
		{key: "secret_env", kind: one(&t.secretEnv, text()), doc: "Environment variable with the token, instead of a file"},
	}
}

// apiTokens fills the tokens, and with one where the console listens.
func (c *checker) apiTokens() {
	sameAs := map[[sha256.Size]byte]string{}
	for i := range c.api.tokens {
		w := &c.api.tokens[i]
		text, at, ok := c.secretText(w.secretFile, w.secretEnv)
		secret := strings.TrimSpace(text)
		switch {
		case w.secretFile.written() && w.secretEnv.written():
			c.fail(w.secretEnv.place, needSecret, "has two secrets")
			continue
		case !w.secretFile.written() && !w.secretEnv.written():
			if !c.failed(w.place) {
				c.fail(w.place, needSecret, "has no secret")
			}
			continue
		case !ok:
			continue
		case !c.goodToken(at, secret):
			continue
		}
		hash := sha256.Sum256([]byte(secret))
		if other, again := sameAs[hash]; again {
			c.fail(at, "give each its own", "is the token of %s too: which of both tells can't be told", other)
		}
		sameAs[hash] = w.name.name
		c.cfg.Tokens = append(c.cfg.Tokens, Token{Name: w.name.name, Role: Role(w.role.v), Hash: hash})
		if Role(w.role.v) == RoleSignIn {
			logins := &c.cfg.Sources.Logins
			logins.Tellers, logins.Session = append(logins.Tellers, w.name.name), c.identitySources.logins.session.v
		}
	}
	console := c.listen.console
	switch {
	case console.v == "":
		if len(c.api.tokens) > 0 && !c.failed(console.place) {
			c.fail(c.api.tokens[0].place, `write listen.console: "127.0.0.1:8053"`, "nothing listens for it: listen.console is empty")
		}
	case len(c.api.tokens) > 0:
		c.cfg.Console = console.v
	case console.written():
		c.notYet(console.place)
	}
}

// goodToken fails a token that could be guessed, or that does not fit into a header (RFC 6750 §2.1).
func (c *checker) goodToken(at place, secret string) bool {
	const hint, letters = "head -c 32 /dev/urandom | base64", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
	distinct := map[rune]bool{}
	for _, r := range secret {
		distinct[r] = true
	}
	switch {
	case strings.ContainsFunc(secret, func(r rune) bool { return !strings.ContainsRune(letters, r) }):
		c.fail(at, hint, "the token has other characters than letters, digits and -._~+/=")
	case len(secret) < 32 || len(distinct) < 10:
		c.fail(at, hint, "the token has %d characters, %d different ones: one of fewer than 32, or 10, can be guessed", len(secret), len(distinct))
	case len(secret) > 512:
		c.fail(at, hint, "the token has %d characters, more than 512", len(secret))
	default:
		return true
	}
	return false
}

// IsLoopback reports whether a listener at host:port is for this machine alone.
func IsLoopback(hostPort string) bool {
	if strings.HasPrefix(hostPort, "localhost:") {
		return true
	}
	a, err := netip.ParseAddrPort(hostPort)
	return err == nil && a.Addr().Unmap().IsLoopback()
}
