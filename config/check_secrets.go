package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"schoolgate/blocklist/feed"
)

const needSecret = "write secret_file or secret_env"

// secretText returns what a file or an environment variable holds, and the place of the key that says
// which. ok is false where there is nothing, which has been reported unless neither is written.
func (c *checker) secretText(file, env value[string]) (text string, at place, ok bool) {
	switch {
	case env.v != "":
		if text = c.machine.getenv(env.v); text == "" {
			c.fail(env.place, "", "the environment variable %s is not set", env.v)
		}
		return text, env.place, text != ""
	case file.v != "":
		data, err := readFile(c.path(file))
		if err != nil {
			c.fail(file.place, "", "%q: %v", file.v, err)
		}
		return string(data), file.place, err == nil
	}
	return "", place{}, false
}

// failSecret fails a secret that could not be read, with a reason that says nothing of it.
func (c *checker) failSecret(at place, err error) {
	if f, ok := errors.AsType[failure](err); ok {
		c.fail(at, f.hint, "%s", f.what)
	}
}

// identity reads the key of confidential lists.
func (c *checker) identity() {
	k := &c.confidentialKey
	written := 0
	for _, v := range []value[string]{k.secretFile, k.secretEnv, k.credential} {
		if v.written() {
			written++
		}
	}
	if k.written() && written != 1 && !c.failed(k.place) {
		c.fail(k.place, "write secret_file, secret_env or credential", "has %d keys, want one", written)
		return
	}
	c.ownersOnly(k.secretFile)
	text, at, ok := c.secretText(k.secretFile, k.secretEnv)
	if k.credential.v != "" {
		text, at, ok = c.systemdCredential(k.credential)
	}
	if !ok {
		return
	}
	if strings.HasPrefix(strings.TrimSpace(text), "age1") {
		c.fail(at, "the line that begins with AGE-SECRET-KEY is wanted", "this is the public key")
		return
	}
	var err error
	if c.cfg.Identity, err = feed.ParseIdentity([]byte(text)); err != nil {
		c.fail(at, "", "%v", err)
	}
}

// systemdCredential reads a credential (systemd.exec(5)). Only the service has them: whoever else
// loads the configuration does without.
func (c *checker) systemdCredential(name value[string]) (text string, at place, ok bool) {
	const variable = "CREDENTIALS_DIRECTORY"
	dir := c.machine.getenv(variable)
	if dir == "" {
		c.cfg.IdentityElsewhere = true
		c.warn(name.place, "systemd sets it for the service", "%s is not set: confidential lists that are fetched or encrypted can't be read here", variable)
		return "", place{}, false
	}
	data, err := readFile(filepath.Join(dir, name.v))
	if err != nil {
		c.fail(name.place, "write LoadCredential="+name.v+":FILE in the unit", "%q: %v", name.v, err)
	}
	return string(data), name.place, err == nil
}

// ownersOnly fails a file of the key to confidential lists that others can read, or that lies where a
// copy of the encrypted lists would take it along.
func (c *checker) ownersOnly(file value[string]) {
	if file.v == "" {
		return
	}
	path := c.path(file)
	if inside(path, c.cfg.DataDir) || inside(resolved(path), resolved(c.cfg.DataDir)) {
		c.fail(file.place, "keep it elsewhere: who copies data_dir must not get the key to it", "%q is inside data_dir", file.v)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		c.fail(file.place, "chmod 600", "%q is open to others than its owner", file.v)
	}
}

// inside reports whether a path is a directory's own or one below it.
func inside(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// resolved is a path without symbolic links, and the path itself where nothing is there.
func resolved(path string) string {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		return target
	}
	return path
}
