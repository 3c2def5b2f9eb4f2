#!/usr/bin/env bash
# Every check of schoolgate, the same at the desk and in CI:
#   deploy/ci/check.sh [all|lint|tests|STAGE]...      (no argument: all)
# lint is format vet lint-config golangci; tests is build test race fuzz e2e; all is both, and vuln.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

gofumpt=mvdan.cc/gofumpt@v0.12.0
golangci=github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
govulncheck=golang.org/x/vuln/cmd/govulncheck@v1.8.0
fuzz_each=10   # seconds for one target
fuzz_total=180 # seconds for all of them: with many targets each gets less
export CGO_ENABLED=${CGO_ENABLED:-1} # the race detector's; the product is built without, below

log=$(mktemp)
scratch=$(mktemp -d)
trap 'rm -rf "$log" "$scratch"' EXIT

# gotest runs go test, shows what it says and keeps it for the summary.
gotest() { go test "$@" 2>&1 | tee -a "$log"; }

stage_format() { # gofumpt prints the files that it would change
  local files
  files=$(go run "$gofumpt" -l .)
  [ -z "$files" ] || { printf 'not formatted by gofumpt:\n%s\n' "$files"; return 1; }
}

stage_vet() {
  go vet ./...
  go vet -tags e2e ./...
}

stage_lint-config() { go run "$golangci" config verify --config deploy/ci/golangci.yml; }

stage_golangci() { go run "$golangci" run --config deploy/ci/golangci.yml ./...; }

stage_build() {
  CGO_ENABLED=0 go build -trimpath -o "$scratch/schoolgate" ./cmd/schoolgate
  "$scratch/schoolgate" version
}

# Without the race detector: the allocation tests count, and with it they could not.
stage_test() { gotest -timeout 5m ./...; }

# The race detector where goroutines meet; the rest is pure code.
stage_race() { gotest -race -timeout 8m ./blocklist/... ./identity/... ./resolver/... ./policy/... ./cmd/schoolgate/daemon/... ./cmd/schoolgate/console ./clients ./querylog; }

# A short run of every fuzz target: finds what a change broke at once, not what hides deep.
stage_fuzz() {
  local targets n each dir name
  targets=$(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . |
    sed -E 's#^(.*)/[^/]*_test\.go:func (Fuzz.*)#\1 \2#' | sort)
  n=$(grep -c . <<<"$targets") || { echo "no fuzz target found"; return 1; }
  each=$((fuzz_total / n < fuzz_each ? fuzz_total / n : fuzz_each))
  [ "$each" -ge 2 ] || each=2
  echo "$n targets, ${each}s each"
  while read -r dir name; do
    fuzz "$dir" "$name" "$each"
  done <<<"$targets"
}

fuzz() { # DIR NAME SECONDS
  local said=$scratch/fuzz status=0
  go test -run '^$' -fuzz "^$2\$" -fuzztime "$3s" -timeout 5m "$1" >"$said" 2>&1 </dev/null || status=$?
  # Go 1.26 sometimes takes the end of its own time for a failure (go.dev/issue/75804). A real one has
  # an input, which is written down.
  if [ "$status" -ne 0 ] && grep -q '^    context deadline exceeded$' "$said" &&
    ! grep -qE 'Failing input written|seed corpus|panic:' "$said"; then
    status=0
  fi
  if [ "$status" -ne 0 ]; then
    cat "$said"
    echo "FAIL $1 $2" >>"$log"
    return "$status"
  fi
  printf 'ok  \t%s\t%s\t%s\n' "$1" "$2" "$(grep -Eo 'execs: [0-9]+' "$said" | tail -n 1)" | tee -a "$log"
}

# The real program between a real client and a real upstream, on loopback.
stage_e2e() { gotest -tags e2e -count=1 -timeout 10m ./cmd/schoolgate/e2e/...; }

# Where the vulnerability database is out of reach, as in CI, there is nothing to say.
stage_vuln() {
  if timeout 120 go run "$govulncheck" ./... >"$scratch/vuln" 2>&1; then
    tail -n 1 "$scratch/vuln"
  elif grep -q '^Vulnerability #' "$scratch/vuln"; then
    cat "$scratch/vuln"
    return 1
  else
    echo "not checked: $(grep -v '^exit status' "$scratch/vuln" | tail -n 1)"
  fi
}

lint=(format vet lint-config golangci)
tests=(build test race fuzz e2e)
stages=()
for arg in "${@:-all}"; do
  case $arg in
    all) stages+=("${lint[@]}" "${tests[@]}" vuln) ;;
    lint) stages+=("${lint[@]}") ;;
    tests) stages+=("${tests[@]}") ;;
    -h | --help) sed -n '2,4s/^# //p' deploy/ci/check.sh; exit 0 ;;
    *)
      declare -F "stage_$arg" >/dev/null || { echo "no such stage: $arg (see --help)" >&2; exit 2; }
      stages+=("$arg")
      ;;
  esac
done

failed=()
for stage in "${stages[@]}"; do
  printf '\n=== %s\n' "$stage"
  SECONDS=0
  status=0
  # In a shell of its own, with its own -e: called as a condition, a function would run without it.
  set +e
  (set -e; "stage_$stage")
  status=$?
  set -e
  verdict=ok
  if [ "$status" -ne 0 ]; then
    verdict=FAILED
    failed+=("$stage")
  fi
  printf '=== %s: %s (%ds)\n' "$stage" "$verdict" "$SECONDS"
done

if [ -s "$log" ]; then
  printf '\n=== go test said\n'
  grep -E '^(ok|FAIL|--- FAIL|panic:)' "$log" || true
fi
if [ "${#failed[@]}" -gt 0 ]; then
  printf '\nFAILED: %s\n' "${failed[*]}"
  exit 1
fi
printf '\nall passed: %s\n' "${stages[*]}"
