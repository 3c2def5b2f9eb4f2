package policy

import (
	"fmt"
	"strings"

	"schoolgate/blocklist"
)

// SafeSearch says which services a group gets in their safe form: those of search engines by the address of
// another host of theirs, to which the engine leads whoever may not switch the safe form off.
type SafeSearch struct {
	Search  bool
	YouTube YouTube
}

// YouTube is YouTube's restricted mode.
type YouTube uint8

// The restricted modes.
const (
	YouTubeOff YouTube = iota
	YouTubeModerate
	YouTubeStrict
)

// ParseYouTube reads the word of the configuration: off, moderate or strict.
func ParseYouTube(s string) (YouTube, bool) {
	for i, n := range []string{"off", "moderate", "strict"} {
		if n == s {
			return YouTube(i), true
		}
	}
	return 0, false
}

// engine is a service with a safe form.
type engine struct {
	name string
	// hosts are its names, each by itself: what is below them is other services.
	hosts []string
	// safe is the host of its safe form, of YouTube that of the strict mode and moderate that of the other.
	safe, moderate string
}

// engines are the services of which the safe form can be had by a name. The names are those that the services
// themselves give out, as far as they do, or else those that filters of schools have in use.
var engines = []engine{
	{name: "Google", safe: "forcesafesearch.google.com", hosts: withWWW("google.", googleDomains)},
	{name: "Bing", safe: "strict.bing.com", hosts: []string{"bing.com", "www.bing.com", "edgeservices.bing.com"}},
	{
		name: "YouTube", safe: "restrict.youtube.com", moderate: "restrictmoderate.youtube.com",
		hosts: []string{"www.youtube.com", "m.youtube.com", "youtubei.googleapis.com", "youtube.googleapis.com", "www.youtube-nocookie.com"},
	},
	{name: "DuckDuckGo", safe: "safe.duckduckgo.com", hosts: []string{"duckduckgo.com", "www.duckduckgo.com", "start.duckduckgo.com"}},
	{name: "Ecosia", safe: "strict-safe-search.ecosia.org", hosts: []string{"ecosia.org", "www.ecosia.org"}},
	{name: "Pixabay", safe: "safesearch.pixabay.com", hosts: []string{"pixabay.com", "www.pixabay.com"}},
	{name: "Yandex", safe: "familysearch.yandex.ru", hosts: append(withWWW("yandex.", "az by co.il com com.am com.ge com.tr ee eu fr kg kz lt lv md pl ru tj tm ua uz"), "ya.ru", "www.ya.ru")},
	{name: "Brave", safe: "forcesafe.search.brave.com", hosts: []string{"search.brave.com"}},
}

// googleDomains are the ends of www.google.com/supported_domains.
const googleDomains = `com ad ae com.af com.ag al am co.ao com.ar as at com.au az ba com.bd be bf bg com.bh bi bj com.bn
	com.bo com.br bs bt co.bw by com.bz ca cd cf cg ch ci co.ck cl cm cn com.co co.cr com.cu cv com.cy cz de dj dk dm com.do
	dz com.ec ee com.eg es com.et fi com.fj fm fr ga ge gg com.gh com.gi gl gm gr com.gt gy com.hk hn hr ht hu co.id ie co.il
	im co.in iq is it je com.jm jo co.jp co.ke com.kh ki kg co.kr com.kw kz la com.lb li lk co.ls lt lu lv com.ly co.ma md me
	mg mk ml com.mm mn com.mt mu mv mw com.mx com.my co.mz com.na com.ng com.ni ne nl no com.np nr nu co.nz com.om com.pa
	com.pe com.pg com.ph com.pk pl pn com.pr ps pt com.py com.qa ro ru rw com.sa com.sb sc se com.sg sh si sk com.sl sn so sm
	sr st com.sv td tg co.th com.tj tl tm tn to com.tr tt com.tw co.tz com.ua co.ug co.uk com.uy co.uz com.vc co.ve vg co.vi
	com.vn vu ws rs co.za co.zm co.zw cat`

// withWWW returns the hosts that begin with start, or with www. before it, and end in one of the ends.
func withWWW(start, ends string) (hosts []string) {
	for end := range strings.FieldsSeq(ends) {
		hosts = append(hosts, start+end, "www."+start+end)
	}
	return hosts
}

// compileEngines puts the engines among the names of which the policy speaks.
func (p *Policy) compileEngines() error {
	for i, e := range engines {
		for _, host := range e.hosts {
			name, err := blocklist.ParseName(host)
			if err != nil {
				return fmt.Errorf("safe search: %w", err)
			}
			p.names.at(name).engine = uint8(i + 1)
		}
		for _, host := range []string{e.safe, e.moderate} {
			name := blocklist.Name("")
			if host != "" {
				var err error
				if name, err = blocklist.ParseName(host); err != nil {
					return fmt.Errorf("safe search: %w", err)
				}
			}
			p.safeHosts = append(p.safeHosts, name)
		}
	}
	return nil
}

// safeForm returns which host a group gets in place of an engine's, as Verdict.Safe, 0 for none.
func (s SafeSearch) safeForm(engine uint8) int8 {
	strict := int8(2*engine - 1)
	switch {
	case engine == 0:
		return 0
	case engines[engine-1].moderate == "":
		if s.Search {
			return strict
		}
	case s.YouTube == YouTubeStrict:
		return strict
	case s.YouTube == YouTubeModerate:
		return strict + 1
	}
	return 0
}

// SafeHost returns the host of the safe form that a verdict says, as a key; "" where it says none. Its
// addresses are what a question for addresses is answered with.
func (p *Policy) SafeHost(v Verdict) blocklist.Name {
	if v.Safe == 0 {
		return ""
	}
	return p.safeHosts[v.Safe-1]
}
