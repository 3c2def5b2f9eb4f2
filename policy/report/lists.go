package report

import (
	"fmt"
	"time"
)

// lists fills what the lists hold, by category.
func (r *Report) lists() {
	rows := map[string]*ListRow{}
	oldest := map[string]time.Duration{}
	var order []string
	for _, c := range r.in.Categories {
		title, _ := r.category(c.Name)
		if rows[c.Name] == nil {
			order = append(order, c.Name)
			rows[c.Name] = &ListRow{Name: c.Name, Title: title}
		}
	}
	for _, l := range r.in.Lists {
		row := rows[l.Category]
		if row == nil {
			title, _ := r.category(l.Category)
			row = &ListRow{Name: l.Category, Title: title}
			rows[l.Category], order = row, append(order, l.Category)
		}
		switch {
		case l.SelfTest:
			continue
		case l.Missing:
			row.Remark = "a list is missing"
		case l.OnTrial:
			row.Remark = "a list is on trial and blocks nothing yet"
		}
		row.Lists++
		row.Entries += l.Entries
		row.NeedURL += l.NotEnforceable
		if l.AgeKnown {
			oldest[l.Category] = max(oldest[l.Category], l.Age)
			row.Oldest = inWords(oldest[l.Category])
		}
	}
	for _, name := range order {
		row := rows[name]
		if row.Lists == 0 && row.Remark == "" {
			row.Remark = "no list is loaded"
		}
		r.Lists = append(r.Lists, *row)
		r.Entries += row.Entries + row.NeedURL
		r.NeedURL += row.NeedURL
	}
}

// NeedURLFilter says how many entries can't be enforced by names.
func (r *Report) NeedURLFilter() string {
	return fmt.Sprintf("%s of %s need a URL filter: they are single pages, and a filter of names can only block whole sites.",
		thousands(int64(r.NeedURL)), plural(int64(r.Entries), "entry", "entries"))
}

// Limits are what no filter of names can do (the UK Safer Internet Centre asks that it is said).
func Limits() []string {
	return []string{
		"It can't see or block a single page. Most entries of the lists of illegal material are pages on sites that also hold other things.",
		"It can't see what is typed into a search, the words and pictures on a page, chats, the titles of videos, or what an AI tool answers.",
		"It can't show a page that says “blocked” on a secure site without a browser warning.",
		"It can't know which person sat at a shared device.",
		"It can't filter a device that does not use it: on mobile data, a hotspot, or a VPN that is already on.",
		"It can't block one video, one person's page or one part of an app on a site that is allowed.",
		"It can't tell a click from what a page, an app or an advertisement loads by itself.",
		"It can't recognise known pictures, and it has no lists of words.",
		"It is not a member of the Internet Watch Foundation, and can't vouch that a school meets its duties.",
		"It can't honestly pass the parts of public filter tests that look at words or open secure connections.",
	}
}
