package alert

import (
	"html"
	"strings"
)

// googleChatMessage is a letter as a webhook of Google Chat takes it: a card, of which the paragraphs are
// HTML, escaped. Only a template's text is in the markup of chat messages.
func googleChatMessage(l Letter, own string) object {
	l = l.mapped(noAngles)
	if own != "" {
		return object{"text": own}
	}
	paragraph := func(text string) object { return object{"textParagraph": object{"text": text}} }
	widgets := []object{paragraph(html.EscapeString(l.Summary))}
	var facts []string
	for _, f := range l.Facts {
		value := html.EscapeString(f.Value)
		if f.Label != "" {
			value = "<b>" + html.EscapeString(f.Label) + ":</b> " + value
		}
		facts = append(facts, value)
	}
	if len(facts) > 0 {
		widgets = append(widgets, paragraph(strings.Join(facts, "<br>")))
	}
	for _, a := range l.Advice {
		widgets = append(widgets, paragraph(html.EscapeString(a)))
	}
	if l.URL != "" {
		widgets = append(widgets, object{"buttonList": object{"buttons": []object{
			{"text": l.link(), "onClick": object{"openLink": object{"url": l.URL}}},
		}}})
	}
	if l.Chain != "" {
		widgets = append(widgets, paragraph("<i>Record "+html.EscapeString(l.Chain)+"</i>"))
	}
	return object{
		"fallbackText": l.Subject,
		"cardsV2": []object{{"cardId": "alert", "card": object{
			"header": object{"title": l.Subject}, "sections": []object{{"widgets": widgets}},
		}}},
	}
}

// googleChatText takes out of data what is markup in a chat message: it has no escapes for it.
func googleChatText(s string) string {
	return strings.NewReplacer("*", "∗", "_", "＿", "~", "∼", "`", "ˋ").Replace(noAngles(s))
}
