#!/usr/bin/env bash
# Sets a fresh Debian or Ubuntu machine up for schoolgate's tests and runs them:
#   deploy/setup.sh [--no-install]
# It installs the tools that the tests need and that are missing (as root, or with sudo), starts none of
# their services, and may be run again. --no-install installs nothing and says what is missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install=yes
for arg in "$@"; do
  case $arg in
    --no-install) install=no ;;
    -h | --help) sed -n '2,5s/^# //p' deploy/setup.sh; exit 0 ;;
    *) echo "unknown option $arg (see --help)" >&2; exit 2 ;;
  esac
done

say() { printf '%s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# What the tests call, and the Debian package that has it.
tools=(
  dig:bind9-dnsutils              # the client of the end-to-end tests
  kdig:knot-dnsutils              # the client of their encrypted DNS
  curl:curl                       # and of DNS over HTTPS
  chromium:chromium               # a browser that asks over HTTPS
  certutil:libnss3-tools          # and trusts their authority
  unbound:unbound                 # their upstream
  ip:iproute2                     # devices in network namespaces
  dnsperf:dnsperf                 # questions while lists are compiled
  sqlite3:sqlite3                 # the backup of docs/install.md
  promtool:prometheus             # alert rules and dashboard queries
  prometheus-alertmanager:prometheus-alertmanager   # the receiver of that type
  systemd-analyze:systemd         # the service unit
  python3:python3                 # the verifier of docs/alerts.md
  gcc:gcc                         # the race detector
)
files=(
  /usr/include/stdio.h:libc6-dev # gcc without it cannot link the race detector
  /etc/ssl/certs/ca-certificates.crt:ca-certificates
)

# Ubuntu has Chromium as a snap alone, which needs a running snapd: its test is passed over there.
if grep -qs '^ID=ubuntu$' /etc/os-release && ! command -v chromium >/dev/null; then
  mapfile -t tools < <(printf '%s\n' "${tools[@]}" | grep -v '^chromium:')
  export SCHOOLGATE_NO_BROWSER=true
fi

missing_packages() {
  local entry
  for entry in "${tools[@]}"; do
    # sbin may be missing from PATH for a plain user.
    PATH=$PATH:/usr/sbin:/sbin command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}"
  done
  for entry in "${files[@]}"; do
    [ -e "${entry%%:*}" ] || echo "${entry##*:}"
  done
}

installed_packages() { dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' | sed -n 's/^ii  *//p' | sort; }

# as_root runs a command as root, through sudo where this is not root.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  else
    command -v sudo >/dev/null || die "installing needs root: run as root, or install: $*"
    sudo "$@"
  fi
}

# install_packages installs and leaves the machine as it was otherwise: nothing that a new package
# brings is started now, and nothing of it starts at the next boot.
install_packages() {
  local before package unit log status=0 hold=no
  log=$(mktemp)
  before=$(installed_packages)
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    hold=yes
    trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
    as_root chmod 755 /usr/sbin/policy-rc.d
  fi
  as_root env DEBIAN_FRONTEND=noninteractive bash -euc '
    apt-get -qq -o DPkg::Lock::Timeout=300 update
    apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@"
  ' install "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" -ne 0 ]; then
    tail -n 20 "$log" >&2
    die "apt-get could not install: $*"
  fi
  rm -f "$log"
  if [ "$hold" = yes ]; then # here, because exec, below, runs no EXIT trap
    as_root rm -f /usr/sbin/policy-rc.d
    trap - EXIT
  fi
  command -v systemctl >/dev/null || return 0
  comm -13 <(echo "$before") <(installed_packages) | while read -r package; do
    { dpkg -L "$package" 2>/dev/null || true; } | sed -nE 's#^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))$#\2#p'
  done | sort -u | while read -r unit; do
    if [ "$(systemctl is-enabled "$unit" 2>/dev/null)" = enabled ]; then
      as_root systemctl --quiet disable "$unit" >/dev/null 2>&1 </dev/null || say "  $unit could not be disabled"
    fi
  done
}

started=$(date +%s)
command -v go >/dev/null || die "Go is missing: install Go 1.26 or newer and put it in PATH"
# In this directory an older go fetches the Go that go.mod asks for, where it may.
if ! version=$(go env GOVERSION 2>/dev/null) || [ -z "$version" ]; then
  die "this Go is too old for go.mod, which asks for 1.26: $(GOTOOLCHAIN=local go version 2>&1 | head -n 1)"
fi
if [ "$(printf '%s\n' 1.26 "${version#go}" | sort -V | head -n 1)" != 1.26 ]; then
  die "Go 1.26 or newer is needed, this is $version"
fi
say "go: $version"

mapfile -t missing < <(missing_packages | sort -u)
if [ "${#missing[@]}" -eq 0 ]; then
  say "tools: all there"
elif [ "$install" = no ]; then
  die "missing, and --no-install was given: ${missing[*]}"
elif ! command -v apt-get >/dev/null; then
  die "this is neither Debian nor Ubuntu: install what Debian calls ${missing[*]}, then run this again"
else
  say "tools: installing ${missing[*]}"
  install_packages "${missing[@]}"
  mapfile -t missing < <(missing_packages | sort -u)
  [ "${#missing[@]}" -eq 0 ] || die "still missing after the installation: ${missing[*]}"
  say "tools: installed ($(($(date +%s) - started))s)"
fi

SECONDS=0
say "modules: fetching"
go list -deps -test -tags e2e ./... >/dev/null # fetches what builds need, and no more
say "modules: there (${SECONDS}s)"

# A machine that was set up has every tool: from here a missing one fails a test instead of skipping it.
PATH=$PATH:/usr/sbin:/sbin CI=true exec deploy/ci/check.sh tests
