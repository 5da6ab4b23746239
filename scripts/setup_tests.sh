#!/usr/bin/env bash
# Installs from Debian what some tests need besides Python: a browser (chromium) and a small Slurm (slurm-wlm, munge). It
# says in a line each what became of them. It never fails: tests that miss a program are skipped with that reason.
#
#   scripts/setup_tests.sh
#
# Works for root on Debian and its kin (apt-get), and installs only what is not there already.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"
read_flags "" "$@"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# no questions, and no daemon is started: tests start their own
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1

not_installed() {
    echo "setup: not installed: ${missing[*]} ($1); tests that need them are skipped"
}

# Runs apt-get quietly, and waits for another one that is at work.
apt() {
    apt-get -q -o DPkg::Lock::Timeout=120 -o Acquire::Retries=1 "$@" >>"$log" 2>&1
}

updated=
# each line by itself: what one of them lacks does not keep the other from being installed
for packages in "chromium" "slurm-wlm munge"; do
    missing=()
    for package in $packages; do
        [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    if [ ${#missing[@]} = 0 ]; then
        echo "setup: $packages: there already"
    elif ! command -v apt-get >/dev/null; then
        not_installed "no apt-get on this machine"
    elif [ "$(id -u)" != 0 ]; then
        not_installed "only root may install"
    else
        started=$SECONDS
        # without a network the packages may still lie in a cache, so a failure here decides nothing
        [ -n "$updated" ] || apt update || true
        updated=yes
        : >"$log"
        if apt install --yes --no-install-recommends "${missing[@]}"; then
            echo "setup: ${missing[*]} installed ($((SECONDS - started)) s)"
        else
            not_installed "$(sed -n 's/^E: //p' "$log" | head -n 1 | cut -c 1-200)"
        fi
    fi
done
