package daemon

import (
	"testing"
	"testing/fstest"
)

func TestTheMemoryThatControlGroupsAllow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no groups", nil, 0},
		{"a service", map[string]string{
			"proc/self/cgroup": "0::/system.slice/schoolgate.service\n", "sys/fs/cgroup/system.slice/schoolgate.service/memory.max": "536870912\n",
		}, 512 << 20},
		{"a service without a limit", map[string]string{
			"proc/self/cgroup": "0::/system.slice/schoolgate.service\n", "sys/fs/cgroup/system.slice/schoolgate.service/memory.max": "max\n",
		}, 0},
		{"the group above has less", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/memory.max": "600\n",
		}, 600},
		{"a container", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n"}, 1000},
		{"a container whose group is of the host", map[string]string{
			"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/memory.max": "1000\n",
		}, 1000},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/c\n4:memory:/docker/x\n0::/\n",
			"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "700\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 700},
		{"version 1 without a limit", map[string]string{
			"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, 0},
		{"nonsense", map[string]string{"proc/self/cgroup": "a\n::\n0::\n", "sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memoryAllowed(root); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}
