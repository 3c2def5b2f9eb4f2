package console

import (
	"encoding/json"
	"net/http"
)

// problem is why a request was not done, as a problem detail (RFC 9457). Its type is about:blank: the status says
// which kind it is.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Refused are the parts of what was sent that were not taken.
	Refused []refusal `json:"refused,omitempty"`

	retryAfter string
}

// refusal is why one of several was not taken.
type refusal struct {
	Index  int    `json:"index"`
	Reason string `json:"reason"`
}

func (p problem) write(w http.ResponseWriter) {
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	switch {
	case p.Status == http.StatusUnauthorized:
		h.Set("WWW-Authenticate", `Bearer realm="schoolgate"`)
	case p.retryAfter != "":
		h.Set("Retry-After", p.retryAfter)
	}
	writeJSON(w, p.Status, p)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the reader hung up: there is nobody to tell
}
