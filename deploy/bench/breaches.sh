#!/usr/bin/env bash
# What recording costs the answers: 1,200 devices ask for blocked names, 50,000 a second, where each is a breach and where
# none is (severity none), in turns:
#   deploy/bench/breaches.sh [ROUNDS [SECONDS [NAMES]]]      (3 rounds of 60 seconds each; 50 names of each device)
# Needs Linux with two processors, and Go. The load has processor 1, the server what it gets of both. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-3}
each=${2:-60}
names=${3:-50}
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -Hn)"

dir=$(mktemp -d)
pid=
cleanup() {
  [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
  wait
  rm -rf "$dir"
}
trap cleanup EXIT

CGO_ENABLED=0 go build -o "$dir/schoolgate" ./cmd/schoolgate
CGO_ENABLED=0 go build -o "$dir/flood" ./deploy/bench/flood
head -c 32 /dev/urandom | base64 | sed 's/^/whsec_/' >"$dir/secret"
chmod 600 "$dir/secret"
echo blocked.example >"$dir/blocked.txt"

for round in $(seq "$rounds"); do
  for severity in $([ $((round % 2)) = 1 ] && echo high none || echo none high); do
    rm -rf "$dir/data"
    cat >"$dir/schoolgate.yaml" <<CONF
version: 1
listen: {dns: ["127.0.0.1:5411"], console: "", metrics: "127.0.0.1:5412"}
data_dir: ./data
access: {allow: [loopback], rate_limit: {queries_per_second: 0}}
upstreams: {servers: ["udp://127.0.0.1:9"]}
categories: {listed: {severity: $severity, lists: [{path: blocked.txt}]}}
groups: {pupils: {clients: [127.0.0.0/8], block: [listed]}}
default_group: pupils
alerts:
  receivers: {dsl: {type: webhook, url: "http://127.0.0.1:5413/", secret_file: secret, detail: full}}
  routes: [{severity: [critical, high], to: [dsl]}]
CONF
    "$dir/schoolgate" serve --config "$dir/schoolgate.yaml" >"$dir/log" 2>&1 </dev/null &
    pid=$!
    for try in $(seq 101); do
      ! curl -sf http://127.0.0.1:5412/readyz >/dev/null || break
      [ "$try" -lt 101 ] || { cat "$dir/log" >&2; exit 1; }
      sleep 0.1
    done
    out=$(taskset -c 1 "$dir/flood" -addr 127.0.0.1:5411 -hook 127.0.0.1:5413 -names "$names" -time "${each}s")
    [ -n "$out" ] || exit 1
    metrics=$(curl -sf http://127.0.0.1:5412/metrics | grep -E '^schoolgate_(breaches|records_dropped)_total' || true)
    kill "$pid"
    wait "$pid" || { cat "$dir/log" >&2; exit 1; }
    pid=
    echo "round $round, severity $severity, load $(cut -d' ' -f1 /proc/loadavg): $out"
    if [ "$severity" = high ]; then
      echo "$metrics"
      "$dir/schoolgate" audit verify --config "$dir/schoolgate.yaml"
      "$dir/schoolgate" breaches export --format jsonl --config "$dir/schoolgate.yaml" | grep -o '"count":[0-9]*' |
        awk -F: '{ n += $2 } END { print "breaches on record: " n " in " NR " rows; " }'
      stat -c 'breach.db: %s bytes' "$dir/data/breach.db"
    fi
  done
done
