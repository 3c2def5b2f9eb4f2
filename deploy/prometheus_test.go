package deploy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// family is a metric as the program exposes it.
type family struct {
	kind   string // "counter", "gauge", "histogram"
	series []series
}

type series struct {
	labels map[string]string
	value  string
}

// labels returns the names of the labels, without a histogram's le, sorted.
func (f family) labels() []string {
	names := map[string]bool{}
	for _, s := range f.series {
		for name := range s.labels {
			names[name] = true
		}
	}
	delete(names, "le")
	return slices.Sorted(maps.Keys(names))
}

var (
	typeLine   = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	seriesLine = regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z_]+)="((?:[^"\\]|\\.)*)"`)
	histogram  = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// scrape reads the metrics of a running service, by name.
func scrape(t *testing.T, s *service) map[string]family {
	t.Helper()
	response, err := http.Get("http://" + s.status.Listen.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]family{}
	for _, m := range typeLine.FindAllStringSubmatch(string(text), -1) {
		families[m[1]] = family{kind: m[2]}
	}
	for _, m := range seriesLine.FindAllStringSubmatch(string(text), -1) {
		name := m[1]
		if base := histogram.ReplaceAllString(name, ""); families[base].kind == "histogram" {
			name = base
		}
		labels := map[string]string{}
		for _, pair := range labelPair.FindAllStringSubmatch(m[2], -1) {
			labels[pair[1]] = pair[2]
		}
		f := families[name]
		f.series = append(f.series, series{labels, m[3]})
		families[name] = f
	}
	return families
}

// query is a PromQL expression with the place that it comes from, and the labels that texts and
// legends beside it speak of.
type query struct {
	where string
	expr  string
	uses  []string
}

var labelUse = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}`)

func usedLabels(text string) []string {
	var names []string
	for _, m := range labelUse.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// ruleQueries returns the expressions of the alert rules.
func ruleQueries(t *testing.T) []query {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert       string            `yaml:"alert"`
				Expr        string            `yaml:"expr"`
				Annotations map[string]string `yaml:"annotations"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(read(t, "prometheus/rules.yaml"), &file); err != nil {
		t.Fatal(err)
	}
	var queries []query
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			text := strings.Join(slices.Sorted(maps.Values(r.Annotations)), " ")
			queries = append(queries, query{where: r.Alert, expr: r.Expr, uses: usedLabels(text)})
			for _, command := range regexp.MustCompile("`schoolgate ([^`]*)`").FindAllStringSubmatch(text, -1) {
				checkCommand(t, command[1])
			}
		}
	}
	return queries
}

// dashboardQueries returns the expressions of the dashboard's panels, annotations and variables.
func dashboardQueries(t *testing.T) []query {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr         string `json:"expr"`
				LegendFormat string `json:"legendFormat"`
			} `json:"targets"`
		} `json:"panels"`
		Annotations struct {
			List []struct {
				Name string `json:"name"`
				Expr string `json:"expr"`
			} `json:"list"`
		} `json:"annotations"`
		Templating struct {
			List []struct {
				Name       string `json:"name"`
				Definition string `json:"definition"`
			} `json:"list"`
		} `json:"templating"`
	}
	if err := json.Unmarshal(read(t, "grafana/dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*", "$group", ".*")
	var queries []query
	add := func(where, expr, uses string) {
		queries = append(queries, query{where, variables.Replace(expr), usedLabels(uses)})
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			add(p.Title, target.Expr, target.LegendFormat)
		}
	}
	for _, a := range board.Annotations.List {
		add(a.Name, a.Expr, "")
	}
	for _, v := range board.Templating.List {
		if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition); m != nil {
			add(v.Name, m[1], "{{"+m[2]+"}}")
		}
	}
	for _, q := range queries {
		if strings.Contains(q.expr, "$") {
			t.Errorf("%s: an unknown variable: %s", q.where, q.expr)
		}
	}
	return queries
}

var (
	selector = regexp.MustCompile(`\b(schoolgate_[a-z_]+|process_[a-z_]+|go_[a-z_]+|up)\b(?:\{([^}]*)\})?`)
	matcher  = regexp.MustCompile(`([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|on|without|ignoring) \(([^)]*)\)`)
)

// check holds a query to what the program exposes: names, labels, and the values that it picks out.
func (q query) check(t *testing.T, families map[string]family) {
	t.Helper()
	known := []string{"instance", "job"} // Prometheus's own
	for _, m := range selector.FindAllStringSubmatch(q.expr, -1) {
		if m[1] == "up" { // Prometheus's own
			continue
		}
		name := m[1]
		if base := histogram.ReplaceAllString(name, ""); families[base].kind == "histogram" {
			name, known = base, append(known, "le")
		}
		f, ok := families[name]
		if !ok {
			t.Errorf("%s: the program has no metric %s", q.where, m[1])
			continue
		}
		labels := append(f.labels(), "instance", "job", "le")
		known = append(known, f.labels()...)
		for _, pair := range matcher.FindAllStringSubmatch(m[2], -1) {
			label, operator, value := pair[1], pair[2], pair[3]
			if !slices.Contains(labels, label) {
				t.Errorf("%s: %s has no label %s", q.where, name, label)
			}
			if label == "instance" || label == "job" || strings.HasPrefix(operator, "!") {
				continue
			}
			if operator == "=" {
				value = regexp.QuoteMeta(value)
			}
			for alternative := range strings.SplitSeq(value, "|") {
				pattern := regexp.MustCompile("^(?:" + alternative + ")$")
				if !slices.ContainsFunc(f.series, func(s series) bool { return pattern.MatchString(s.labels[label]) }) {
					t.Errorf("%s: no series of %s has %s %s", q.where, name, label, alternative)
				}
			}
		}
	}
	for _, m := range grouping.FindAllStringSubmatch(q.expr, -1) {
		for name := range strings.SplitSeq(m[1], ",") {
			if name = strings.TrimSpace(name); name != "" && !slices.Contains(known, name) {
				t.Errorf("%s: grouped by %s, which nothing in it has", q.where, name)
			}
		}
	}
	for _, name := range q.uses {
		if !slices.Contains(known, name) {
			t.Errorf("%s: its text uses the label %s, which nothing in it has", q.where, name)
		}
	}
}

func TestPrometheusAcceptsRulesAndDashboard(t *testing.T) {
	promtool := tool(t, "promtool")

	t.Run("the rules", func(t *testing.T) {
		if out, code := run(t, "prometheus", promtool, "check", "rules", "rules.yaml"); code != 0 {
			t.Error(out)
		}
	})

	t.Run("each rule fires on its fault, and not without", func(t *testing.T) {
		out, code := run(t, "prometheus", promtool, "test", "rules", "rules_test.yaml", "rules_week_test.yaml")
		if code != 0 {
			t.Error(out)
		}
		tests := string(read(t, "prometheus/rules_test.yaml")) + string(read(t, "prometheus/rules_week_test.yaml"))
		for _, q := range ruleQueries(t) {
			if !regexp.MustCompile(`\b` + q.where + `\b`).MatchString(tests) {
				t.Errorf("%s has no test", q.where)
			}
		}
	})

	t.Run("the dashboard's queries", func(t *testing.T) {
		type rule struct {
			Record string `yaml:"record"`
			Expr   string `yaml:"expr"`
		}
		type group struct {
			Name  string `yaml:"name"`
			Rules []rule `yaml:"rules"`
		}
		g := group{Name: "dashboard"}
		for i, q := range dashboardQueries(t) {
			g.Rules = append(g.Rules, rule{fmt.Sprintf("query_%d", i), q.expr})
		}
		text, err := yaml.Marshal(map[string][]group{"groups": {g}})
		if err != nil {
			t.Fatal(err)
		}
		path := write(t, filepath.Join(t.TempDir(), "rules.yaml"), string(text))
		if out, code := run(t, ".", promtool, "check", "rules", path); code != 0 {
			t.Errorf("%s\n%s", out, text)
		}
	})
}

func TestMetrics(t *testing.T) {
	dir := shortDir(t)
	write(t, filepath.Join(dir, "games.txt"), "games.example\n")
	write(t, filepath.Join(dir, "hook.secret"), webhookSecret)
	write(t, filepath.Join(dir, "trust.yaml"), "version: 1\ncache: {client_ttl: 1m}\n")
	s := start(t, dir, smallConfig+`
extends: trust.yaml
alerts:
  receivers: {dsl: {type: webhook, url: "http://127.0.0.1:9/", secret_file: hook.secret}}
  routes: [{severity: [low], to: [dsl]}]
`)
	question(t, s.status.Listen.DNS[0], "www.games.example")
	families := scrape(t, s)

	t.Run("the documentation has each, with its type and labels, and no other", func(t *testing.T) {
		type described struct {
			Kind   string
			Labels []string
		}
		documented, exposed := map[string]described{}, map[string]described{}
		row := regexp.MustCompile("(?m)^\\| `(schoolgate_[a-z_]+)` \\| ([a-z]+) \\|([^|]*)\\|")
		for _, m := range row.FindAllSubmatch(read(t, "docs/metrics.md"), -1) {
			var labels []string
			for _, l := range regexp.MustCompile("`([a-z_]+)`").FindAllSubmatch(m[3], -1) {
				labels = append(labels, string(l[1]))
			}
			slices.Sort(labels)
			documented[string(m[1])] = described{string(m[2]), labels}
		}
		for name, f := range families {
			if strings.HasPrefix(name, "schoolgate_") {
				exposed[name] = described{f.kind, f.labels()}
			}
		}
		if diff := cmp.Diff(documented, exposed); diff != "" {
			t.Errorf("docs/metrics.md (-) and the program (+):\n%s", diff)
		}
	})

	t.Run("the rules ask for what there is", func(t *testing.T) {
		for _, q := range ruleQueries(t) {
			q.check(t, families)
		}
	})

	t.Run("the dashboard asks for what there is", func(t *testing.T) {
		for _, q := range dashboardQueries(t) {
			q.check(t, families)
		}
	})

	t.Run("no label says who asked for what", func(t *testing.T) {
		for name, f := range families {
			for _, s := range f.series {
				for label, value := range s.labels {
					if strings.Contains(value, "games.example") || strings.HasPrefix(value, "127.0.0.1") {
						t.Errorf("%s{%s=%q}", name, label, value)
					}
				}
			}
		}
	})
}
