#!/usr/bin/env bash
# Answers a second over DNS over TLS and HTTPS, of schoolgate and of its peers side by side:
#   deploy/bench/encrypted.sh [ROUNDS [SECONDS]]      (3 rounds of 5 seconds each)
# Needs Linux with two processors, Go, openssl, and Debian's dnsperf, dnsdist and unbound. See README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-3}
each=${2:-5}
PATH=$PATH:/usr/sbin:/sbin
for tool in go openssl dnsperf dnsdist unbound taskset; do
  command -v "$tool" >/dev/null || { echo "$tool is missing" >&2; exit 1; }
done
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -Hn)"

dir=$(mktemp -d)
pids=()
cleanup() {
  [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
  wait
  rm -rf "$dir"
}
trap cleanup EXIT

# All have the same names in their caches, the same certificate, and processor 0; the load has processor 1.
for i in $(seq 1000); do echo "www.name$i.example A"; done >"$dir/names"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$dir/key.pem" -out "$dir/cert.pem" \
  -days 2 -subj /CN=dns.example -addext subjectAltName=DNS:dns.example,IP:127.0.0.1 2>/dev/null

cat >"$dir/upstream.conf" <<CONF
server:
  directory: "$dir"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@5401
  module-config: "iterator"
  local-zone: "." redirect
  local-data: ". 86400 A 192.0.2.1"
remote-control:
  control-enable: no
CONF
cat >"$dir/unbound.conf" <<CONF
server:
  directory: "$dir"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  num-threads: 1
  interface: 127.0.0.1@5421
  interface: 127.0.0.1@5422
  interface: 127.0.0.1@5423
  tls-port: 5422
  https-port: 5423
  tls-service-key: "$dir/key.pem"
  tls-service-pem: "$dir/cert.pem"
  incoming-num-tcp: 2048
  do-not-query-localhost: no
  module-config: "iterator"
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@5401
CONF
cat >"$dir/dnsdist.conf" <<CONF
setLocal("127.0.0.1:5431")
addTLSLocal("127.0.0.1:5432", "$dir/cert.pem", "$dir/key.pem", {provider = "openssl"})
addDOHLocal("127.0.0.1:5433", "$dir/cert.pem", "$dir/key.pem", {"/dns-query"})
newServer({address = "127.0.0.1:5401", healthCheckMode = "up"})
setMaxTCPClientThreads(1)
setMaxTCPQueuedConnections(2000)
getPool(""):setCache(newPacketCache(100000))
CONF
cat >"$dir/schoolgate.yaml" <<CONF
version: 1
listen:
  dns: ["127.0.0.1:5411"]
  dot: ["127.0.0.1:5412"]
  doh: ["127.0.0.1:5413"]
  console: ""
  metrics: ""
  tls: {certificate: cert.pem, key: key.pem}
data_dir: ./data
access: {rate_limit: {queries_per_second: 0}}
upstreams: {servers: ["udp://127.0.0.1:5401"]}
cache: {client_ttl: 1d}
categories: {gambling: {severity: low, lists: [builtin:gambling]}}
groups: {everybody: {block: [gambling]}}
default_group: everybody
CONF
CGO_ENABLED=0 go build -o "$dir/schoolgate" ./cmd/schoolgate
CGO_ENABLED=0 go build -o "$dir/load" ./deploy/bench/load

start() { # CPU COMMAND...
  local cpu=$1
  shift
  taskset -c "$cpu" "$@" >>"$dir/log" 2>&1 </dev/null &
  pids+=($!)
}
start 1 unbound -d -c "$dir/upstream.conf"
until dnsperf -s 127.0.0.1 -p 5401 -d "$dir/names" -n 1 -t 1 2>&1 | grep -q 'NOERROR 1000'; do sleep 0.2; done
start 0 unbound -d -c "$dir/unbound.conf"
start 0 dnsdist --supervised --disable-syslog -C "$dir/dnsdist.conf"
start 0 "$dir/schoolgate" serve --config "$dir/schoolgate.yaml"

declare -A port=([schoolgate]=541 [unbound]=542 [dnsdist]=543)
subjects=(schoolgate dnsdist unbound)
for s in "${subjects[@]}"; do # each is up, and its cache hot, once every name has been answered
  for try in $(seq 100); do
    [ "$try" -lt 100 ] || { echo "$s does not answer:" >&2; tail -n 20 "$dir/log" >&2; exit 1; }
    out=$(dnsperf -s 127.0.0.1 -p "${port[$s]}1" -d "$dir/names" -n 2 -t 1 -q 20 2>&1) || true
    ! grep -q 'NOERROR 2000 (100.00%)' <<<"$out" || break
    sleep 0.2
  done
done

# load MODE PORT CONNECTIONS prints answers a second; a hundred questions are on their way at least.
load() {
  GOMAXPROCS=1 taskset -c 1 "$dir/load" -mode "$1" -addr "127.0.0.1:$2" -connections "$3" -outstanding $((100 / $3 > 1 ? 100 / $3 : 1)) -time "${each}s" || echo 0
}

for round in $(seq "$rounds"); do
  for mode in dot doh; do
    for connections in 1 1000; do
      for s in "${subjects[@]}"; do
        n=$(load "$mode" "${port[$s]}$([ "$mode" = dot ] && echo 2 || echo 3)" "$connections")
        echo "$n" >>"$dir/result.$s.$mode.$connections"
        echo "round $round: $s $mode, $connections connections: $n" >&2
      done
    done
  done
done

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
echo "load of the machine: $(cut -d' ' -f1-3 /proc/loadavg)"
printf '| answers a second | %s | %s | %s |\n|---|---|---|---|\n' "${subjects[@]}"
for mode in dot doh; do
  for connections in 1 1000; do
    printf '| %s, %s | ' "$mode" "$([ "$connections" = 1 ] && echo 1 connection || echo "$connections connections")"
    for s in "${subjects[@]}"; do printf '%s | ' "$(median "$dir/result.$s.$mode.$connections")"; done
    echo
  done
done
