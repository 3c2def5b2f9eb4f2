package config

import (
	"net/url"
	"time"

	"schoolgate/policy/alert"
	"schoolgate/policy/breach"
)

type alerts struct {
	place
	quiet     value[time.Duration]
	escalate  escalate
	receivers []receiver
	routes    []route
}

func (a *alerts) fields() []field {
	return []field{
		{
			key: "quiet", kind: one(&a.quiet, duration(time.Second, day)), def: "10m",
			doc: "How long an incident that goes on stays quiet between two alerts",
		},
		{
			key: "escalate", kind: mapping(&a.escalate), def: "{}",
			doc: "When an incident grows graver by itself, by one step and once: `{count: 5, within: 10m}`",
		},
		{key: "receivers", kind: named(&a.receivers), doc: "The endpoints that take alerts"},
		{key: "routes", kind: sections(&a.routes), doc: "Every route that matches sends"},
	}
}

type escalate struct {
	place
	count  value[int]
	within value[time.Duration]
}

func (e *escalate) fields() []field {
	return []field{
		{
			key: "count", kind: one(&e.count, integer(0, breach.MaxEscalation)), def: "0",
			doc: "How many attempts make it so, repeats too; 0 is never",
		},
		{key: "within", kind: one(&e.within, duration(time.Second, time.Hour)), def: "10m", doc: "Within how long"},
	}
}

type receiver struct {
	name
	kind       value[string]
	url        value[*url.URL]
	secretFile value[string]
	secretEnv  value[string]
	detail     value[string]
}

func (r *receiver) fields() []field {
	return []field{
		{
			key: "type", kind: one(&r.kind, enum("webhook", "teams", "slack", "google_chat", "email", "alertmanager")), need: true,
			doc: "`webhook` follows Standard Webhooks 1.0.0; the others come in a later version",
		},
		{key: "url", kind: one(&r.url, webURL()), doc: "Where alerts are posted to: https, or http on this machine"},
		{
			key: "secret_file", kind: one(&r.secretFile, filePath()),
			doc: "File with the secret that alerts are signed with: `whsec_` and base64 of 24 to 64 bytes",
		},
		{key: "secret_env", kind: one(&r.secretEnv, text()), doc: "Environment variable with the secret, instead of a file"},
		{
			key: "detail", kind: one(&r.detail, enum("thin", "full")), def: "thin",
			doc: "`thin` names no client and no site; `full` does, for a trusted system",
		},
	}
}

type route struct {
	place
	severity values[string]
	about    value[string]
	to       values[string]
	digest   value[alert.Times]
}

func (r *route) fields() []field {
	return []field{
		{key: "severity", kind: many(&r.severity, enum("critical", "high", "medium", "low")), doc: "Of the incidents; every one where it is not written"},
		{key: "about", kind: one(&r.about, enum("system")), doc: "`system`: what IT must know, such as a stale list, a dead upstream, a failing receiver"},
		{key: "to", kind: many(&r.to, reference("receiver")), need: true, doc: "The receivers"},
		{
			key: "digest", kind: one(&r.digest, digest()),
			doc: "Gathered and sent at this time, `mon-fri 15:45` by the school's clock, not at once. Critical and high need another route that sends at once",
		},
	}
}
