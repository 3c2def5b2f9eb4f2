package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// described is what openapi.json says, as far as it is compared with what is served.
type described struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		Security  *[]map[string][]string
		Responses map[string]any
	}
}

func TestTheDescriptionIsOfWhatIsServed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	w := d.send(httptest.NewRequest(http.MethodGet, "http://localhost/api/v1/openapi.json", nil))
	var doc described
	if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %v", w.Code, w.Header(), err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("OpenAPI %s", doc.OpenAPI)
	}
	var served, told []string
	for _, r := range d.routes() {
		served = append(served, r.method+" "+r.path+" "+string(r.role))
	}
	for path, operations := range doc.Paths {
		for method, o := range operations {
			roles := []string{}
			for _, security := range *o.Security {
				roles = append(roles, security["token"]...)
			}
			told = append(told, strings.ToUpper(method)+" /api/v1"+path+" "+strings.Join(roles, ","))
		}
	}
	slices.Sort(served)
	slices.Sort(told)
	if !slices.Equal(served, told) {
		t.Errorf("served:\n%s\ndescribed:\n%s", strings.Join(served, "\n"), strings.Join(told, "\n"))
	}
}

// schema is one of the description's, for what is sent or answered.
func schema(t *testing.T, at string) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("openapi.json#" + at)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func valid(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestWhatIsSentAndAnsweredIsAsDescribed(t *testing.T) {
	t.Parallel()
	sent := schema(t, "/paths/~1logins/post/requestBody/content/application~1json/schema")
	answered, problems := schema(t, "/components/schemas/Taken"), schema(t, "/components/schemas/Problem")
	for body, good := range map[string]bool{
		`{"user":"a","ip":"10.20.3.4","event":"login"}`: true,
		`[{"user":"a","ip":"10.20.3.4","mac":"00:11:22:33:44:55","event":"login","time":"2026-11-20T11:00:00Z","session":"1"},{"user":"b","ip":"192.0.2.1","event":"login"}]`: true,
		`{"user":"a","ip":"10.20.3.4"}`:                          false,
		`{"user":"a","ip":"10.20.3.4","event":"login","x":"y"}`:  false,
		`{"user":"a","ip":"10.20.3.4","event":"login","time":7}`: false,
		`{"user":"","ip":"10.20.3.4","event":"login"}`:           false,
		`[]`: false,
		`[{"user":"a","ip":"10.20.3.4","event":"Login"}, "more"]`: false,
	} {
		d := newDesk(t)
		code, answer := d.tells(body)
		if err := valid(t, sent, body); (err == nil) != good || (code == http.StatusOK) != good {
			t.Errorf("%s: %d %s; described: %v", body, code, answer, err)
		}
		as := problems
		if good {
			as = answered
		}
		if err := valid(t, as, answer); err != nil {
			t.Errorf("%s is answered %s: %v", body, answer, err)
		}
	}
}

func TestEveryKeyOfALoginIsDescribed(t *testing.T) {
	t.Parallel()
	var doc struct {
		Components struct {
			Schemas struct {
				Login struct{ Properties map[string]any }
			}
		}
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	keys, _ := new(login).keys()
	for _, key := range keys {
		if doc.Components.Schemas.Login.Properties[key] == nil {
			t.Errorf("%s is not", key)
		}
	}
	if n := len(doc.Components.Schemas.Login.Properties); n != len(keys) {
		t.Errorf("%d are described, and there are %d", n, len(keys))
	}
}
