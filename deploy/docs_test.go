package deploy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// webhookSecret is a key for tests: 32 bytes.
const webhookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n"

// document is a Markdown file.
type document struct {
	path string
	text string
}

// documents returns all that people read.
func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var docs []document
	for _, path := range append(paths, "../README.md", "../CHANGELOG.md") {
		docs = append(docs, document{path, string(read(t, path))})
	}
	return docs
}

var fence = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// blocks returns the contents of the fenced blocks in a language.
func (d document) blocks(language string) []string {
	var found []string
	for _, m := range fence.FindAllStringSubmatch(d.text, -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	return found
}

// prose is the text without its fenced blocks.
func (d document) prose() string { return fence.ReplaceAllString(d.text, "") }

// anchors returns what a link may point at: the headings, as a Markdown viewer names them.
func (d document) anchors() []string {
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(d.prose(), -1) {
		name := regexp.MustCompile(`[^\w\- ]`).ReplaceAllString(strings.ToLower(m[1]), "")
		found = append(found, strings.ReplaceAll(name, " ", "-"))
	}
	return found
}

func TestLinksResolve(t *testing.T) {
	for _, d := range documents(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(d.prose(), -1) {
			file, anchor := m[1], m[2]
			if strings.Contains(file, "://") || strings.HasPrefix(file, "mailto:") {
				continue
			}
			target := d
			if file != "" {
				target.path = filepath.Join(filepath.Dir(d.path), file)
				info, err := os.Stat(target.path)
				if err != nil {
					t.Errorf("%s: %v", d.path, err)
					continue
				}
				if info.IsDir() || !strings.HasSuffix(file, ".md") {
					continue
				}
				target.text = string(read(t, target.path))
			}
			if anchor != "" && !slices.Contains(target.anchors(), anchor) {
				t.Errorf("%s: %s has no heading #%s", d.path, target.path, anchor)
			}
		}
	}
}

func TestDocumentedCommandsExist(t *testing.T) {
	call := regexp.MustCompile(`(?:^|[\s/;(])schoolgate ([a-z].*)`)
	seen := map[string]bool{}
	for _, d := range documents(t) {
		var lines []string
		for _, block := range d.blocks("sh") {
			lines = append(lines, strings.Split(block, "\n")...)
		}
		for _, m := range regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(d.prose(), -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			if m := call.FindStringSubmatch(line); m != nil && !seen[m[1]] {
				seen[m[1]] = true
				t.Run(filepath.Base(d.path)+" "+m[1], func(t *testing.T) { checkCommand(t, m[1]) })
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d commands found in the documents", len(seen))
	}
}

// surroundings is what a documented piece of configuration may take for granted.
const surroundings = `
version: 1
upstreams: {servers: ["udp://127.0.0.1:9"]}
categories:
  pornography: {title: Pornography, severity: high, lists: [builtin:pornography]}
  extremism: {title: Extremism, severity: critical, lists: [builtin:extremism]}
  gaming: {title: Gaming, severity: low, lists: [builtin:gaming]}
  gambling: {title: Gambling, severity: medium, lists: [builtin:gambling]}
  bypass: {title: Ways round the filter, severity: high, lists: [builtin:bypass]}
  encrypted_dns: {title: DNS over HTTPS, severity: none, lists: [builtin:encrypted_dns]}
groups:
  pupils: {clients: [198.51.100.0/28], block: [pornography, extremism]}
  year7: {clients: [198.51.100.16/28], block: [pornography]}
  staff: {clients: [198.51.100.32/28], block: [pornography]}
default_group: pupils
alerts:
  receivers:
    dsl: {type: webhook, url: "https://dsl.example/", secret_file: hook.secret}
    it: {type: webhook, url: "https://it.example/", secret_file: hook.secret}
    headteacher: {type: webhook, url: "https://head.example/", secret_file: hook.secret}
  routes:
    - {severity: [critical, high], to: [dsl]}
    - {about: system, to: [it]}
`

func TestDocumentedConfigurationLoads(t *testing.T) {
	found, scripts := 0, pagesTested()
	for _, d := range documents(t) {
		for _, block := range d.blocks("yaml") {
			found++
			t.Run(filepath.Base(d.path), func(t *testing.T) {
				switch {
				case strings.Contains(block, "scrape_configs:"):
					checkPrometheusConfig(t, block)
					return
				case scripts[filepath.Base(d.path)] != "": // whole files, which its script uses
					return
				}
				checkConfiguration(t, block)
			})
		}
	}
	if found < 5 {
		t.Errorf("only %d blocks of YAML found in the documents", found)
	}
}

// pagesTested are the pages with a script that does what they say.
func pagesTested() map[string]string {
	return map[string]string{"first-policy.md": "first_policy.txt", "many-sites.md": "extends.txt"}
}

// TestPagesAreTested holds the pages to their scripts.
func TestPagesAreTested(t *testing.T) {
	for page, script := range pagesTested() {
		t.Run(page, func(t *testing.T) { checkPage(t, "docs/"+page, "../cmd/schoolgate/testdata/script/"+script) })
	}
}

func checkPage(t *testing.T, path, scriptPath string) {
	t.Helper()
	doc := document{path, string(read(t, path))}
	script := string(read(t, scriptPath))
	for _, block := range append(doc.blocks("yaml"), doc.blocks("console")...) {
		if !strings.Contains(script, block) {
			t.Errorf("not in the script:\n%s", block)
		}
	}
	found := 0
	for _, block := range doc.blocks("sh") {
		for line := range strings.Lines(block) {
			found++
			line = strings.ReplaceAll(strings.TrimSpace(line), `"`, "'") // the only quotes that scripts know
			if !strings.Contains(script, "\n"+line) {
				t.Errorf("not in the script: %s", line)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d commands found", found)
	}
}

// checkConfiguration has the program check a piece of configuration in its surroundings, with each
// file that it names.
func checkConfiguration(t *testing.T, block string) {
	t.Helper()
	var whole, piece map[string]any
	if err := yaml.Unmarshal([]byte(surroundings), &whole); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal([]byte(block), &piece); err != nil {
		t.Fatal(err)
	}
	for key, value := range piece {
		inner, nested := value.(map[string]any)
		if outer, ok := whole[key].(map[string]any); ok && nested && (key == "groups" || key == "categories") {
			maps.Copy(outer, inner)
		} else {
			whole[key] = value
		}
	}
	dir := t.TempDir()
	createFiles(t, dir, whole)
	text, err := yaml.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, filepath.Join(dir, "schoolgate.yaml"), string(text))
	if out, code := run(t, dir, program, "check", "--config", path); code != 0 {
		t.Errorf("exit %d: %s\n%s", code, out, block)
	}
}

// createPair creates a certificate and its key.
func createPair(t *testing.T, certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"dns.school.example"}, NotAfter: time.Now().Add(90 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certificate, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

// createFiles creates each list, certificate and secret that a configuration names.
func createFiles(t *testing.T, dir string, value any) {
	t.Helper()
	switch value := value.(type) {
	case map[string]any:
		for key, inner := range value {
			name, _ := inner.(string)
			switch key {
			case "path":
				write(t, filepath.Join(dir, name), "https://listed.example/\n")
			case "secret_file":
				createSecret(t, filepath.Join(dir, name))
			case "certificate":
				key, _ := value["key"].(string)
				createPair(t, filepath.Join(dir, name), filepath.Join(dir, key))
			}
			createFiles(t, dir, inner)
		}
	case []any:
		for _, inner := range value {
			createFiles(t, dir, inner)
		}
	}
}

// createSecret creates what the name of a secret's file says that it is.
func createSecret(t *testing.T, path string) {
	t.Helper()
	switch filepath.Ext(path) {
	case ".url":
		write(t, path, "https://chat.example/hook/token\n")
	case ".password":
		write(t, path, "correct horse\n")
	default:
		write(t, path, webhookSecret)
	}
}

func checkPrometheusConfig(t *testing.T, block string) {
	t.Helper()
	rules, err := filepath.Abs("prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	block = strings.ReplaceAll(block, "/etc/prometheus/schoolgate-rules.yaml", rules)
	path := write(t, filepath.Join(t.TempDir(), "prometheus.yml"), block)
	if out, code := run(t, ".", tool(t, "promtool"), "check", "config", path); code != 0 || !strings.Contains(out, "SUCCESS") {
		t.Error(out)
	}
}

// TestDocumentedAlert has the program send a real alert, and holds docs/alerts.md to it: the example
// has the fields that really come, and the verifier written there accepts it, and nothing else.
func TestDocumentedAlert(t *testing.T) {
	doc := document{"docs/alerts.md", string(read(t, "docs/alerts.md"))}
	type delivery struct {
		header http.Header
		body   []byte
	}
	deliveries := make(chan delivery, 8)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		deliveries <- delivery{r.Header, data}
	}))
	defer receiver.Close()

	dir := shortDir(t)
	write(t, filepath.Join(dir, "games.txt"), "games.example\n")
	write(t, filepath.Join(dir, "hook.secret"), webhookSecret)
	s := start(t, dir, smallConfig+`
console_url: https://console.example
alerts:
  receivers: {dsl: {type: webhook, url: "`+receiver.URL+`", secret_file: hook.secret, detail: full}}
  routes: [{severity: [low], to: [dsl]}]
`)
	question(t, s.status.Listen.DNS[0], "www.games.example")
	var alert delivery
	select {
	case alert = <-deliveries:
	case <-time.After(patience):
		t.Fatal("no alert came")
	}

	t.Run("the example has the fields that come", func(t *testing.T) {
		examples := doc.blocks("json")
		example := examples[slices.IndexFunc(examples, func(e string) bool { return strings.Contains(e, `"incident.opened"`) })]
		if diff := cmp.Diff(fields(t, []byte(example)), fields(t, alert.body)); diff != "" {
			t.Errorf("the document (-) and the alert (+):\n%s\n%s", diff, alert.body)
		}
	})

	t.Run("the verifier takes the alert, and not one with a changed byte", func(t *testing.T) {
		python := tool(t, "python3")
		headers := map[string]string{}
		for name := range alert.header {
			headers[strings.ToLower(name)] = alert.header.Get(name)
		}
		arguments, err := json.Marshal([]any{headers, string(alert.body), strings.TrimSpace(webhookSecret)})
		if err != nil {
			t.Fatal(err)
		}
		script := write(t, filepath.Join(t.TempDir(), "verify.py"), doc.blocks("python")[0]+`
import json, sys
headers, body, secret = json.loads(sys.argv[1])
print(verify(headers, body.encode(), secret), verify(headers, body.encode() + b" ", secret))
`)
		if out, code := run(t, ".", python, script, string(arguments)); code != 0 || out != "True False\n" {
			t.Errorf("exit %d: %s", code, out)
		}
	})
}

// fields returns the paths of all members of a JSON document, sorted.
func fields(t *testing.T, document []byte) []string {
	t.Helper()
	var value any
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatalf("%v: %s", err, document)
	}
	var paths []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, inner := range value {
				walk(path+"."+key, inner)
			}
		case []any:
			for _, inner := range value {
				walk(path+"[]", inner)
			}
		default:
			paths = append(paths, path)
		}
	}
	walk("", value)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// TestDependenciesAreExplained holds the README's table and go.mod to what the code imports: each
// such module has its line there, and no other has one.
func TestDependenciesAreExplained(t *testing.T) {
	const packages = `{{range .Imports}}{{.}} {{end}}{{range .TestImports}}{{.}} {{end}}{{range .XTestImports}}{{.}} {{end}}`
	list, code := run(t, "..", "go", "list", "-tags", "e2e", "-f", packages, "./...")
	if code != 0 {
		t.Fatal(list)
	}
	imported, direct, explained := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(?:require |\t)(\S+) v\S+( // indirect)?$`).FindAllStringSubmatch(string(read(t, "../go.mod")), -1) {
		module := m[1]
		if slices.ContainsFunc(strings.Fields(list), func(p string) bool { return p == module || strings.HasPrefix(p, module+"/") }) {
			imported[module] = true
		}
		if m[2] == "" {
			direct[module] = true
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z.]+\\.[a-z]+/[^`]*)` \\|").FindAllStringSubmatch(string(read(t, "../README.md")), -1) {
		explained[m[1]] = true
	}
	if diff := cmp.Diff(imported, explained); diff != "" {
		t.Errorf("imported (-) and in README.md (+):\n%s", diff)
	}
	if diff := cmp.Diff(imported, direct); diff != "" {
		t.Errorf("imported (-) and direct in go.mod (+):\n%s", diff)
	}
}
