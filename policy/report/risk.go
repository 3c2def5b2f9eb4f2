package report

// The four kinds of risk of Keeping children safe in education.
const (
	Content  = "content"
	Contact  = "contact"
	Conduct  = "conduct"
	Commerce = "commerce"
)

// Risks are all of them, in the order of that guidance.
func Risks() []string { return []string{Content, Contact, Conduct, Commerce} }

var riskTitles = map[string]string{
	Content:  "Content: what is seen",
	Contact:  "Contact: by other people or by programs that pose as people",
	Conduct:  "Conduct: what somebody does online",
	Commerce: "Commerce: gambling, advertising, scams",
}

// RiskOf is the kind of a category that the configuration does not give one: what its name says, else Content.
func RiskOf(category string) string {
	switch category {
	case "generative_ai", "social_networks", "chat", "dating", "webmail":
		return Contact
	case "bypass", "encrypted_dns", "piracy", "bullying", "file_hosting", "hacking":
		return Conduct
	case "gambling", "malware", "phishing", "scams", "advertising":
		return Commerce
	}
	return Content
}
