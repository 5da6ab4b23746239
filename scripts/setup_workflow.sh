#!/usr/bin/env bash
# Installs the workflow engine Snakemake, with its plugin for Slurm, into the virtual environment .venv_workflow, and
# says in one line what it did. A Snakemake of your own (version 9, from conda say) does as well.
#
#   scripts/setup_workflow.sh
#
# Can be called again at any time: where everything is there already, pip is not started.
#
#   PYTHON      the Python that creates the environment, 3.11 to 3.13 (default: the first of python3, python3.13 down to
#               python3.11 that is)

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"
read_flags "" "$@"

requirements=$root/scripts/requirements_workflow.txt
venv=$root/.venv_workflow
stamp=$venv/installed.txt

if cmp -s "$requirements" "$stamp" && "$venv/bin/python" -I -c '' 2>/dev/null; then
    echo "setup: Snakemake is in .venv_workflow"
    exit 0
fi
python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "${PYTHON:-python3}: Snakemake 9 needs Python 3.11 to 3.13 with the module venv; PYTHON names another one"
started=$SECONDS
"$python" -m venv --clear "$venv" || fail "$python could not create the virtual environment .venv_workflow"
# shellcheck disable=SC2046 # one requirement a word
"$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check $(sed 's/#.*//' "$requirements") \
    >"$venv/setup.log" 2>&1 ||
    fail "pip could not install into .venv_workflow: $(sed -n 's/^ERROR: //p' "$venv/setup.log" | tail -n 1 | cut -c 1-300) (details: $venv/setup.log)"
cp "$requirements" "$stamp"
echo "setup: Snakemake installed into .venv_workflow ($((SECONDS - started)) s)"
