package alert

import "strings"

type object = map[string]any

// slackMessage is a letter as an incoming webhook of Slack takes it. Its text is in rich text elements,
// which Slack shows as they are: no mention, link or markup in them does anything. Only the fallback of
// notifications, and a template's text, are mrkdwn, with what controls it escaped.
func slackMessage(l Letter, own string) object {
	l = l.mapped(noAngles)
	m := object{"text": slackText(l.Subject + ". " + l.Summary), "link_names": false, "unfurl_links": false, "unfurl_media": false}
	if own != "" {
		m["blocks"] = []object{{"type": "section", "text": object{"type": "mrkdwn", "text": own, "verbatim": true}}}
		return m
	}
	text := func(s string, bold bool) object {
		if bold {
			return object{"type": "text", "text": s, "style": object{"bold": true}}
		}
		return object{"type": "text", "text": s}
	}
	section := func(elements ...object) object { return object{"type": "rich_text_section", "elements": elements} }
	parts := []object{section(text(l.Subject+"\n", true), text(l.Summary+"\n", false))}
	var facts []object
	for _, f := range l.Facts {
		if f.Label != "" {
			facts = append(facts, text(f.Label+": ", true))
		}
		facts = append(facts, text(f.Value+"\n", false))
	}
	if len(facts) > 0 {
		parts = append(parts, section(facts...))
	}
	if len(l.Advice) > 0 {
		var items []object
		for _, a := range l.Advice {
			items = append(items, section(text(a, false)))
		}
		parts = append(parts, object{"type": "rich_text_list", "style": "bullet", "elements": items})
	}
	if l.URL != "" {
		parts = append(parts, section(object{"type": "link", "url": l.URL, "text": l.link()}))
	}
	if l.Chain != "" {
		parts = append(parts, section(object{"type": "text", "text": "Record " + l.Chain, "style": object{"code": true}}))
	}
	m["blocks"] = []object{{"type": "rich_text", "elements": parts}}
	return m
}

// slackText escapes data in mrkdwn. The three characters that control mentions and links have escapes
// (docs.slack.dev, formatting message text); those of bold and code do not, and get look-alikes.
func slackText(s string) string { return slackEscapes().Replace(noAngles(s)) }

func slackEscapes() *strings.Replacer {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "*", "∗", "_", "＿", "~", "∼", "`", "ˋ")
}
