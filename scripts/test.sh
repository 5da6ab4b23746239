#!/usr/bin/env bash
# Sets up the environment and runs the tests: all of them, slow ones too, or what the arguments to pytest choose.
#
#   scripts/test.sh                                 everything
#   scripts/test.sh -m "not slow"                   the quick ones
#   scripts/test.sh tests/prompts/test_prompt.py -k box     some
#
# Tests that miss a program (Snakemake, a browser, Slurm) are skipped, and named at the end with the reason; on Debian
# scripts/setup_tests.sh installs a browser and Slurm.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/scripts/setup.sh"
# without it, as on Python 3.10, the tests of the workflow are skipped
bash "$root/scripts/setup_workflow.sh" || echo "test: without Snakemake the tests of the workflow are skipped"
venv=$root/.venv
if [ -n "${POSE_VENV:-}" ]; then
    case $POSE_VENV in /*) venv=$POSE_VENV ;; *) venv=$PWD/$POSE_VENV ;; esac
fi
cd "$root"
# a file of tests a process: what the tests of a file share is made once
exec "$venv/bin/python" -m pytest -m "" --numprocesses auto --maxprocesses 4 --dist loadfile "$@"
