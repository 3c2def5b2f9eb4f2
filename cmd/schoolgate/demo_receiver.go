package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// demoReceiver is the system that takes the demo's alerts: what a school writes, or buys, to be told.
type demoReceiver struct {
	listener net.Listener
	key      []byte
	taken    func(receiver string, a demoAlert)
}

// demoAlert is what the demo reads of an alert's body.
type demoAlert struct {
	Type string `json:"type"`
	Data struct {
		Incident string `json:"incident"`
		Severity string `json:"severity"`
		Title    string `json:"title"`
		Group    string `json:"group"`
		Action   string `json:"action"`
		Count    int64  `json:"count"`
		Client   struct {
			IP string `json:"ip"`
		} `json:"client"`
		Names []struct {
			Name  string `json:"name"`
			Count int64  `json:"count"`
		} `json:"names"`
	} `json:"data"`
}

func listenDemoReceiver(ctx context.Context, key []byte, taken func(string, demoAlert)) (*demoReceiver, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &demoReceiver{listener: l, key: key, taken: taken}, nil
}

// serve takes alerts until the listener is closed.
func (r *demoReceiver) serve() {
	server := &http.Server{Handler: r, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	_ = server.Serve(r.listener) // its error is that the listener was closed
}

func (r *demoReceiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, 20_000))
	if err == nil {
		err = r.verify(req.Header, body, time.Now())
	}
	var a demoAlert
	if err == nil {
		err = json.Unmarshal(body, &a)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.taken(strings.TrimPrefix(req.URL.Path, "/"), a)
	w.WriteHeader(http.StatusNoContent)
}

// verify does what Standard Webhooks 1.0.0 asks of a receiver: the signature is of this sender, and
// not of an old message sent again.
func (r *demoReceiver) verify(h http.Header, body []byte, now time.Time) error {
	id, timestamp := h.Get("webhook-id"), h.Get("webhook-timestamp")
	sent, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || now.Sub(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return errors.New("webhook-timestamp is missing, or of another time")
	}
	mac := hmac.New(sha256.New, r.key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	for signature := range strings.FieldsSeq(h.Get("webhook-signature")) {
		text, found := strings.CutPrefix(signature, "v1,")
		given, err := base64.StdEncoding.DecodeString(text)
		if found && err == nil && hmac.Equal(given, mac.Sum(nil)) {
			return nil
		}
	}
	return errors.New("webhook-signature is wrong")
}
