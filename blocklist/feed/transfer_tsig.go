package feed

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // HMAC with SHA-1 is not broken, and there are primaries that have nothing else
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/miekg/dns"
)

// TSIG is a key that a server and schoolgate share (RFC 8945).
type TSIG struct {
	Name      string
	Algorithm string // one of TSIGAlgorithms
	Secret    []byte // not base64
}

// String returns the key's name, so that its secret gets into no log.
func (k TSIG) String() string { return k.Name }

// TSIGAlgorithms returns what TSIG.Algorithm may be, the usual one first.
func TSIGAlgorithms() []string {
	return []string{"hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1"}
}

// maxUnsigned is how many messages in a row may have no signature of their own (RFC 8945 §5.3.1). NSD
// signs every 96th.
const maxUnsigned = 99

// signer signs a question and verifies the messages that answer it. It does what dns.Transfer does not:
// the signature of a message is also that of the unsigned ones before it.
type signer struct {
	key *TSIG
	// mac is of the message that was signed last, in hex: of the question at first.
	mac string
	// digest has taken in mac and the unsigned messages since.
	digest   hash.Hash
	answered bool // a signed message has come
	unsigned int
}

func newSigner(key *TSIG) (*signer, error) {
	makers := map[string]func() hash.Hash{
		"hmac-sha1": sha1.New, "hmac-sha224": sha256.New224, "hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
	}
	maker := makers[key.Algorithm]
	if maker == nil {
		return nil, fmt.Errorf("key %s: %q is no algorithm for TSIG (use one of %s)", key.Name, key.Algorithm, strings.Join(TSIGAlgorithms(), ", "))
	}
	return &signer{key: key, digest: hmac.New(maker, key.Secret)}, nil
}

// sign returns the question as it goes out. now is in seconds since 1970.
func (s *signer) sign(m *dns.Msg, now int64) ([]byte, error) {
	const fudge = 300 // seconds (RFC 8945 §10)
	m.SetTsig(dns.Fqdn(s.key.Name), dns.Fqdn(s.key.Algorithm), fudge, now)
	packet, mac, err := dns.TsigGenerateWithProvider(m, s, "", false)
	if err != nil {
		return nil, err
	}
	return packet, s.chain(mac)
}

// chain begins the digest of what comes next with the signature that came last.
func (s *signer) chain(mac string) error {
	octets, err := hex.DecodeString(mac)
	if err != nil {
		return err
	}
	s.mac = mac
	s.digest.Reset()
	s.digest.Write([]byte{byte(len(octets) >> 8), byte(len(octets))})
	s.digest.Write(octets)
	return nil
}

// verify checks a message, of which the octets may change.
func (s *signer) verify(m *dns.Msg, octets []byte) error {
	signature := m.IsTsig()
	if signature == nil {
		if !s.answered || s.unsigned == maxUnsigned {
			return errors.New("the answer is not signed: has the server the key?")
		}
		s.unsigned++
		s.digest.Write(octets)
		return nil
	}
	if err := dns.TsigVerifyWithProvider(octets, s, s.mac, s.answered); err != nil {
		return fmt.Errorf("signature of the answer: %w", err)
	}
	s.answered, s.unsigned = true, 0
	return s.chain(signature.MAC)
}

// Generate is for dns.TsigGenerateWithProvider.
func (s *signer) Generate(msg []byte, _ *dns.TSIG) ([]byte, error) {
	s.digest.Reset()
	s.digest.Write(msg)
	return s.digest.Sum(nil), nil
}

// Verify is for dns.TsigVerifyWithProvider. Its msg begins with the last signature, which the digest has
// taken in already.
func (s *signer) Verify(msg []byte, t *dns.TSIG) error {
	if !sameDNSName(t.Hdr.Name, s.key.Name) || !sameDNSName(t.Algorithm, s.key.Algorithm) {
		return errors.New("it was made with another key or algorithm")
	}
	s.digest.Write(msg[2+len(s.mac)/2:])
	if mac, err := hex.DecodeString(t.MAC); err != nil || !hmac.Equal(mac, s.digest.Sum(nil)) {
		return dns.ErrSig
	}
	return nil
}

func sameDNSName(a, b string) bool { return dns.CanonicalName(a) == dns.CanonicalName(b) }
