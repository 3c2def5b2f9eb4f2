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
	secretFile values[string]
	secretEnv  values[string]
	smtp       smtp
	detail     value[string]
	template   value[string]
	devices    values[string]
	deputy     value[string]
}

func (r *receiver) fields() []field {
	return []field{
		{
			key: "type", kind: one(&r.kind, enum(alert.Types()...)), need: true,
			doc: "`webhook` follows Standard Webhooks 1.0.0; the others are told in words ([alerts.md](alerts.md))",
		},
		{
			key: "url", kind: one(&r.url, webURL()),
			doc: "Where alerts are posted to: https, or http on this machine. That of `teams`, `slack` and `google_chat` is a secret, and better in `secret_file`; `alertmanager`: without `/api/v2`; `email` has `smtp` instead",
		},
		{
			key: "secret_file", kind: either(&r.secretFile, filePath()),
			doc: "File with the secret. `webhook`: the key that signs, `whsec_` and base64 of 24 to 64 bytes, or a list of two, both of which sign, to replace one by the other; `teams`, `slack`, `google_chat`: the URL; `email`: the password; `alertmanager`: `user:password`, if it wants one",
		},
		{key: "secret_env", kind: either(&r.secretEnv, text()), doc: "Environment variable with the secret, instead of a file"},
		{key: "smtp", kind: mapping(&r.smtp), doc: "The mail of `email`"},
		{
			key: "detail", kind: one(&r.detail, enum("thin", "full")), def: "thin",
			doc: "`thin` names no client and no site; `full` does, for a trusted system. Chats and mailboxes are poor homes for it, and `alertmanager` is never given it",
		},
		{
			key: "template_file", kind: one(&r.template, filePath()),
			doc: "Text in place of the built-in one, of a chat or of `email` ([alerts.md](alerts.md#texts-of-your-own))",
		},
		{
			key: "devices", kind: undivided(&r.devices, text()),
			doc: "The receiver's own devices and accounts: `10.1.0.5`, `mac:00:11:22:33:44:55`, `name:dsl-laptop`, `user:dsl`. What concerns them goes to the `deputy` instead",
		},
		{key: "deputy", kind: one(&r.deputy, reference("receiver")), doc: "Who is told in place of this receiver of what concerns its own `devices`"},
	}
}

// smtp says by which server, from whom and to whom mail goes.
type smtp struct {
	place
	server value[string]
	from   value[string]
	to     values[string]
	user   value[string]
}

func (s *smtp) fields() []field {
	return []field{
		{
			key: "server", kind: one(&s.server, mailServer()),
			doc: "Who takes the mail, `smtp.school.example:587`, which is the default port. With TLS: from the start on port 465, else by STARTTLS, without which nothing is sent off this machine",
		},
		{key: "from", kind: one(&s.from, mailAddress()), doc: "Whom it is from"},
		{key: "to", kind: many(&s.to, mailAddress()), doc: "Whom it is to"},
		{key: "user", kind: one(&s.user, text()), doc: "Who authenticates, with the password of `secret_file`"},
	}
}

type route struct {
	place
	severity values[string]
	category values[string]
	group    values[string]
	site     values[string]
	during   values[string]
	outside  values[string]
	about    value[string]
	to       values[string]
	digest   value[alert.Times]
}

func (r *route) fields() []field {
	return []field{
		{key: "severity", kind: many(&r.severity, enum("critical", "high", "medium", "low")), doc: "Of the incidents; every one where it is not written"},
		{key: "category", kind: many(&r.category, reference("category")), doc: "Of the incidents, `rule` for what a rule blocks; every one where it is not written"},
		{key: "group", kind: many(&r.group, reference("group")), doc: "Of the device; every one where it is not written, and one that inherits is another one"},
		{key: "site", kind: many(&r.site, text()), doc: "Of this resolver (`site`), where several share a file; every one where it is not written"},
		{key: "during", kind: many(&r.during, reference("period")), doc: "Only in one of these periods of `calendar.periods`"},
		{key: "outside", kind: many(&r.outside, reference("period")), doc: "Only when none of these periods is: out of hours"},
		{key: "about", kind: one(&r.about, enum("system")), doc: "`system`: what IT must know, such as a stale list, a dead upstream, a failing receiver"},
		{key: "to", kind: many(&r.to, reference("receiver")), need: true, doc: "The receivers"},
		{
			key: "digest", kind: one(&r.digest, digest()),
			doc: "Gathered and sent at this time, `mon-fri 15:45` by the school's clock, not at once. Critical and high need another route that sends at once",
		},
	}
}
