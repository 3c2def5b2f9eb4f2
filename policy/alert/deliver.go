package alert

import (
	"context"
	"encoding/base64"
	"slices"
	"time"

	"schoolgate/policy/breach"
)

// pace is the least time between two messages to a receiver of a type: Slack and Google Chat take one a
// second, Teams' Workflows and Microsoft 365's mail a few in a while.
func pace(kind string) time.Duration {
	switch kind {
	case TypeSlack, TypeGoogleChat, TypeTeams:
		return time.Second
	case TypeEmail:
		return 2 * time.Second
	}
	return 0
}

// known reports whether there are receivers of a type.
func known(kind string) bool { return slices.Contains(Types(), kind) }

// deliver tries once to deliver an alert to a receiver, in the form of its type. taken has the addresses that
// a mail has been taken for, and is added to.
func (d *Dispatcher) deliver(ctx context.Context, r *Receiver, a breach.Alert, taken map[string]bool) answer {
	now := d.now()
	if r.Type == TypeWebhook {
		return d.post(ctx, r.webhook(a.ID, a.Body, now))
	}
	if r.Type == TypeAlertmanager && a.Type == typeDigest {
		return answer{delivered: true, text: "not sent: Alertmanager takes no digest"} // it was of another type before
	}
	l := letter(a.Body, d.config.Load().zone())
	o := outgoing{url: r.URL}
	switch r.Type {
	case TypeSlack:
		o.body = encodeJSON(slackMessage(l, d.own(r, "text", l)))
	case TypeTeams:
		o.body = encodeJSON(teamsMessage(l, d.own(r, "text", l)))
	case TypeGoogleChat:
		o.body = encodeJSON(googleChatMessage(l, d.own(r, "text", l)))
	case TypeAlertmanager:
		o.url += "/api/v2/alerts"
		o.body = encodeJSON(alertmanagerAlerts(l, a.ID, now))
		if len(r.Secrets) > 0 {
			o.header = map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString(r.Secrets[0])}
		}
	case TypeEmail:
		m, err := newMail(r, a.ID, l, d.own(r, "subject", l), d.own(r, "text", l), d.own(r, "html", l))
		if err != nil {
			return answer{text: err.Error()}
		}
		return d.sendMail(ctx, r, &m, taken)
	default:
		return answer{text: notSupported(r)}
	}
	return d.post(ctx, o)
}

// own is what the receiver's template makes of a letter, "" for the built-in text. That it fails is said by
// Problems, and keeps nobody from being told.
func (d *Dispatcher) own(r *Receiver, block string, l Letter) string {
	text, err := r.Template.execute(r.Type, block, l)
	if err == nil {
		return text
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.templates[r.Name] = clean(err.Error(), 2*maxShown)
	return ""
}
