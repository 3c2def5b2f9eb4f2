package alert

import (
	"strings"

	"schoolgate/policy"
)

// advice says what to do about an incident, and who. Where it is unlawful to look, that comes first
// (Keeping children safe in education; the IWF's and the police's own words).
func (l *Letter) advice() []string {
	look := "open the incident"
	if l.URL == "" {
		look = "look at it on the server (schoolgate incidents show " + l.Incident + ")"
	}
	if strings.HasSuffix(l.Title, policy.SelfTest) {
		return []string{"This is a name with which schools test their filter: nothing unlawful was asked for. If nobody was testing, ask who was."}
	}
	const dontLook = "Do not open the site and do not look for it: looking at it is an offence, for you too. Copy nothing, forward nothing, and keep the device as it is."
	switch l.Category {
	case "iwf":
		return []string{
			dontLook,
			"For the safeguarding lead, now: " + look + ", and tell the head.",
			"A child in danger: the police, 999. Else 101, or CEOP at ceop.police.uk. The site itself: the IWF at report.iwf.org.uk.",
		}
	case "ctiru":
		return []string{
			dontLook,
			"For the safeguarding lead, now: " + look + ", and tell the head.",
			"Danger to life: the police, 999. Else 101, or the Anti-Terrorist Hotline, 0800 789 321. The site itself: gov.uk/report-terrorism.",
		}
	}
	grave := l.Severity == "critical" || l.Severity == "high"
	out := []string{"For the safeguarding lead, at once: " + look + ", see what led up to it, speak to whom it concerns, and write down what came of it."}
	if !grave {
		out[0] = "For the safeguarding lead, when there is time: " + look + "."
	}
	if l.Severity == "critical" {
		out[0] += " Tell the head."
	}
	return append(out, "A device asked; that is no proof that somebody looked: apps and pages ask for names by themselves.")
}
