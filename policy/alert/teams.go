package alert

import "strings"

// teamsMessage is a letter as a Workflows URL of Microsoft Teams takes it: an Adaptive Card. Its text is in
// text runs, which have no Markdown; only a template's is in a block that has.
func teamsMessage(l Letter, own string) object {
	l = l.mapped(noAngles)
	line := func(runs ...object) object { return object{"type": "RichTextBlock", "inlines": runs} }
	run := func(s, weight string) object {
		return object{"type": "TextRun", "text": s, "weight": weight}
	}
	const bold, plain = "Bolder", "Default"
	var body []object
	if own != "" {
		body = []object{{"type": "TextBlock", "text": own, "wrap": true}}
	} else {
		title := run(l.Subject, bold)
		title["size"] = "Large"
		body = []object{line(title), line(run(l.Summary, plain))}
		for _, f := range l.Facts {
			runs := []object{run(f.Value, plain)}
			if f.Label != "" {
				runs = []object{run(f.Label+": ", bold), runs[0]}
			}
			fact := line(runs...)
			fact["spacing"] = "None"
			body = append(body, fact)
		}
		for _, a := range l.Advice {
			body = append(body, line(run(a, plain)))
		}
		if l.Chain != "" {
			link := run("Record "+l.Chain, plain)
			link["size"], link["isSubtle"] = "Small", true
			body = append(body, line(link))
		}
	}
	card := object{
		"$schema": "http://adaptivecards.io/schemas/adaptive-card.json", "type": "AdaptiveCard", "version": "1.4",
		"msteams": object{"width": "Full"}, "fallbackText": l.Subject, "body": body,
	}
	if l.URL != "" {
		card["actions"] = []object{{"type": "Action.OpenUrl", "title": l.link(), "url": l.URL}}
	}
	return object{
		"type": "message", "summary": l.Subject,
		"attachments": []object{{"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": nil, "content": card}},
	}
}

// markdownText escapes data in Markdown.
func markdownText(s string) string {
	var b strings.Builder
	for _, c := range noAngles(s) {
		if strings.ContainsRune("\\`*_{}[]()#+-.!|~&", c) {
			b.WriteByte('\\')
		}
		b.WriteRune(c)
	}
	return b.String()
}
