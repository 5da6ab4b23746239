#!/usr/bin/env bash
# Looks over the code without running it: ruff (faults and format) and mypy (types), as pyproject.toml configures them.
#
#   scripts/check.sh
#
# All three have their say before it fails. POSE_VENV names the environment (default: .venv in the repository).

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"
read_flags "" "$@"

bin=${POSE_VENV:-$root/.venv}/bin
case $bin in /*) ;; *) bin=$PWD/$bin ;; esac
cd "$root"
failed=()
"$bin/ruff" check --quiet || failed+=("ruff check")
"$bin/ruff" format --check --quiet || failed+=("ruff format --check")
"$bin/mypy" || failed+=(mypy)
if [ ${#failed[@]} -gt 0 ]; then
    printf -v list ', %s' "${failed[@]}"
    echo "check: failed: ${list:2}" >&2
    exit 1
fi
