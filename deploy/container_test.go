package deploy_test

import (
	"debug/elf"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// execForm returns the arguments of a Dockerfile instruction in exec form: CMD ["a", "b"].
func execForm(t *testing.T, instruction string) []string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + instruction + ` (\[.*\])$`).FindSubmatch(read(t, "Dockerfile"))
	if m == nil {
		t.Fatalf("Dockerfile has no %s [...]", instruction)
	}
	var args []string
	if err := json.Unmarshal(m[1], &args); err != nil {
		t.Fatal(err)
	}
	return args
}

func TestImage(t *testing.T) {
	const installed = "/usr/local/bin/schoolgate"
	healthcheck := execForm(t, "HEALTHCHECK .* CMD")

	t.Run("it runs commands that the program has", func(t *testing.T) {
		checkCommand(t, strings.Join(execForm(t, "CMD"), " "))
		checkCommand(t, strings.Join(healthcheck[1:], " "))
		if got := append(execForm(t, "ENTRYPOINT"), healthcheck[0]); !cmp.Equal(got, []string{installed, installed}) {
			t.Errorf("the binary is called as %q, want %s", got, installed)
		}
	})

	t.Run("the binary needs nothing that an empty image has not", func(t *testing.T) {
		file, err := elf.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP {
				t.Error("it is linked dynamically")
			}
		}
		if deps, _ := run(t, "..", "go", "list", "-deps", "./cmd/schoolgate"); !strings.Contains(deps, "\ntime/tzdata\n") {
			t.Error("it brings no time zones of its own, and the image has none")
		}
	})

	t.Run("its user is not root", func(t *testing.T) {
		user := regexp.MustCompile(`(?m)^USER (\d+):(\d+)$`).FindSubmatch(read(t, "Dockerfile"))
		if user == nil || string(user[1]) == "0" || string(user[2]) == "0" {
			t.Errorf("USER is %q", user)
		}
	})

	t.Run("the health check says yes of one that runs and no of one that does not", func(t *testing.T) {
		dir := shortDir(t)
		write(t, filepath.Join(dir, "games.txt"), "games.example\n")
		s := start(t, dir, smallConfig)
		args := append(healthcheck[1:], "--config", s.config)
		if out, code := run(t, dir, program, args...); code != 0 {
			t.Errorf("running: exit %d: %s", code, out)
		}
		s.stop(t)
		if out, code := run(t, dir, program, args...); code == 0 {
			t.Errorf("stopped: exit 0: %s", out)
		}
	})
}

func TestCompose(t *testing.T) {
	type service struct {
		Build struct {
			Context    string `yaml:"context"`
			Dockerfile string `yaml:"dockerfile"`
		} `yaml:"build"`
		Ports       []string       `yaml:"ports"`
		Volumes     []string       `yaml:"volumes"`
		ReadOnly    bool           `yaml:"read_only"`
		CapDrop     []string       `yaml:"cap_drop"`
		CapAdd      []string       `yaml:"cap_add"`
		SecurityOpt []string       `yaml:"security_opt"`
		Ulimits     map[string]int `yaml:"ulimits"`
	}
	var compose struct {
		Services map[string]service   `yaml:"services"`
		Volumes  map[string]yaml.Node `yaml:"volumes"`
	}
	if err := yaml.Unmarshal(read(t, "compose.yaml"), &compose); err != nil {
		t.Fatal(err)
	}
	s := compose.Services["schoolgate"]
	read(t, filepath.Join(s.Build.Context, s.Build.Dockerfile)) // is there

	want := service{
		Build: s.Build,
		Ports: []string{
			"${SCHOOLGATE_ADDRESS:-0.0.0.0}:53:53/udp",
			"${SCHOOLGATE_ADDRESS:-0.0.0.0}:53:53/tcp",
			"127.0.0.1:9053:9053/tcp",
		},
		Volumes:     []string{"./etc:/etc/schoolgate:ro", "data:/var/lib/schoolgate"},
		ReadOnly:    true,
		CapDrop:     []string{"ALL"},
		CapAdd:      []string{"NET_BIND_SERVICE"},
		SecurityOpt: []string{"no-new-privileges:true"},
		Ulimits:     map[string]int{"core": 0, "nofile": 65536},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if _, ok := compose.Volumes["data"]; !ok {
		t.Error("the volume data is not declared")
	}
}
