package daemon

import (
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// LimitMemory has the garbage collector work harder before the process takes more than nine tenths of
// what its control group may have, where that is limited: compiling lists makes garbage fast, and the
// kernel kills who goes over. What GOMEMLIMIT says stays.
func LimitMemory(log *slog.Logger) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	allowed := memoryAllowed(os.DirFS("/"))
	if allowed == 0 {
		return
	}
	limit := allowed / 10 * 9
	debug.SetMemoryLimit(limit)
	log.Info("memory is limited", "allowed_mb", allowed>>20, "limit_mb", limit>>20)
}

// memoryAllowed is how many bytes the control groups of this process allow it, by the files below root;
// 0 where nothing limits it. A group is limited by those above it too. In a container its own group is
// at the top, whatever /proc calls it (cgroup_namespaces(7)).
func memoryAllowed(root fs.FS) int64 {
	groups, _ := fs.ReadFile(root, "proc/self/cgroup") // no such file, no groups
	least := int64(0)
	for line := range strings.Lines(string(groups)) {
		// "0::/system.slice/x" of version 2, "5:cpu,memory:/x" of version 1 (cgroups(7)).
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, group, _ := strings.Cut(rest, ":")
		top, file := "sys/fs/cgroup", "memory.max"
		switch {
		case controllers == "":
		case strings.Contains(","+controllers+",", ",memory,"):
			top, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Join(top, path.Join("/", group)); ; dir = path.Dir(dir) {
			text, _ := fs.ReadFile(root, path.Join(dir, file)) // the top of a machine has none
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n > 0 && n < noLimit && (least == 0 || n < least) {
				least = n
			}
			if dir == top {
				break
			}
		}
	}
	return least
}

// noLimit is less than the number that version 1 has for no limit, the largest multiple of a page's
// size, and more than any machine has.
const noLimit = 1 << 60
