#!/usr/bin/env bash
# Puts everything of requirements.txt into the virtual environment .venv, and says in one line what it did.
#
#   scripts/setup.sh
#
# Can be called again at any time: what is there already is kept, and pip is not started when nothing is missing. A
# torch that is in the environment already (CPU, CUDA or MPS, whatever its version) is kept, and gets a torchvision that
# fits it.
#
#   PYTHON      the Python that creates the environment (default: the first of python3, python3.13 down to python3.10
#               that is 3.10 to 3.13)
#   POSE_VENV   the folder of the environment (default: .venv in the repository)

set -euo pipefail

if [ $# -gt 0 ]; then
    sed -n -e '/^#!/d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    case $1 in -h | --help) exit 0 ;; *) exit 2 ;; esac
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
requirements=$root/requirements.txt
venv=$root/.venv
shown=.venv
if [ -n "${POSE_VENV:-}" ]; then
    case $POSE_VENV in /*) venv=$POSE_VENV ;; *) venv=$PWD/$POSE_VENV ;; esac
    shown=$POSE_VENV
fi
venv_python=$venv/bin/python
log=$venv/setup.log
constraints=$venv/setup_constraints.txt
unfinished=$venv/setup_unfinished

fail() {
    printf 'setup: error: %s\n' "$1" >&2
    exit 1
}

# Prints the number of packages to install, the torch that is there ("none" without one), its pin and, a line each, the
# requirements other than torch. When $1 is "interrupted" it first removes the records of packages whose files are not
# all there: pip would take those packages for installed.
inspect() {
    "$venv_python" -I - "$requirements" "$1" <<'PYTHON'
import re
import shutil
import sys
from importlib.metadata import distributions
from pathlib import Path

requirements, interrupted = Path(sys.argv[1]), sys.argv[2] == "interrupted"
pins, installed = {}, {}
for line in requirements.read_text(encoding="utf-8").splitlines():
    if line := line.split("#")[0].strip():
        name, separator, version = map(str.strip, line.partition("=="))
        if not separator:
            sys.exit(f"{requirements}: {line}: not of the form NAME==VERSION")
        pins[re.sub("[_.]", "-", name.lower())] = version

for distribution in distributions():
    folder = Path(distribution._path)
    if folder.name.startswith("~"):  # what pip set aside while it replaced a package
        continue
    ours = folder.suffix == ".dist-info" and Path(sys.prefix) in folder.parents
    files = distribution.files or () if interrupted and ours else None
    if files is not None and not (files and all(file.suffix == ".pyc" or file.locate().exists() for file in files)):
        shutil.rmtree(folder)
    elif name := distribution.metadata["Name"]:
        installed.setdefault(re.sub("[_.]", "-", name.lower()), distribution.version)

torch, torch_pin = installed.get("torch"), pins.pop("torch")
if torch is not None and torch.split("+")[0] != torch_pin:
    pins["torchvision"] = None  # each torchvision fits one torch: pip finds the one for the torch that is kept
missing = [
    name for name, pin in pins.items() if name not in installed or pin and installed[name].split("+")[0] != pin
]
print(len(missing) + (torch is None), torch or "none", torch_pin)
for name, pin in pins.items():
    print(f"{name}=={pin}" if pin else name)
PYTHON
}

# Sets missing, torch, torch_pin (words) and rest (a requirement a line) to what inspect finds; takes its argument.
look() {
    local report
    report=$(inspect "${1:-}") || fail "$shown: its packages could not be listed"
    read -r missing torch torch_pin <<<"$report"
    rest=$(printf '%s\n' "$report" | tail -n +2)
}

# Sets python to the first that can create the environment.
choose_python() {
    local candidate version found=
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- python3 python3.13 python3.12 python3.11 python3.10
    fi
    for candidate in "$@"; do
        version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
        case $version in
            3.10 | 3.11 | 3.12 | 3.13)
                if "$candidate" -c 'import venv, ensurepip' 2>/dev/null; then
                    python=$candidate
                    return
                fi
                version="$version without the module venv (on Debian or Ubuntu: apt install python$version-venv)"
                ;;
        esac
        found="$found${found:+, }$candidate is $version"
    done
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON: Python 3.10 to 3.13 is needed; ${found:-it cannot be run}"
    fi
    fail "Python 3.10 to 3.13 is needed; ${found:-there is no python3}; PYTHON names another one"
}

create_venv() {
    local entry
    choose_python
    # --clear empties the folder, so it must be an environment or the first pieces of one
    if [ -e "$venv" ] && [ ! -f "$venv/pyvenv.cfg" ]; then
        [ -d "$venv" ] || fail "$shown: is a file, not a virtual environment"
        for entry in "$venv"/* "$venv"/.[!.]*; do
            case ${entry##*/} in
                bin | include | lib | lib64 | '*' | '.[!.]*') ;;
                *) fail "$shown: is a folder with other content (${entry##*/}), not a virtual environment" ;;
            esac
        done
    fi
    "$python" -m venv --clear "$venv" || fail "$python could not create the virtual environment $shown"
}

# Runs pip install with the arguments given; its output goes to the log, and on a failure its reason to the user.
pip_install() {
    local reason
    if "$venv_python" -m pip install --quiet --no-input --disable-pip-version-check "$@" >>"$log" 2>&1; then
        return
    fi
    reason=$(sed -n -e 's/ (from versions:.*//' -e 's/^ERROR: //p' "$log" | cut -c 1-300 | tail -n 1)
    case $reason in
        '' | 'No matching distribution'* | 'Could not find a version'* | *OSError*)
            if grep -q -i -E 'name ?resolution|NewConnection|ConnectTimeout|ProxyError|unreachable' "$log"; then
                fail "pip cannot reach its package index: is this machine online? (details: $log)"
            fi
            ;;
    esac
    fail "pip could not install into $shown: ${reason:-no reason given} (details: $log)"
}

[ -f "$requirements" ] || fail "$requirements: no such file"
if ! "$venv_python" -I -c '' 2>/dev/null; then
    create_venv
fi
if [ -e "$unfinished" ]; then look interrupted; else look; fi
if [ "$missing" = 0 ]; then
    rm -f "$unfinished"
    echo "setup: everything of requirements.txt is in $shown"
    exit 0
fi

started=$SECONDS
[ ! -t 2 ] || printf 'setup: installing into %s, which takes a minute or more\n' "$shown" >&2
if ! "$venv_python" -m pip --version >/dev/null 2>&1; then
    "$venv_python" -m ensurepip >/dev/null 2>&1 || true
    if ! "$venv_python" -m pip --version >/dev/null 2>&1; then
        create_venv
        look
    fi
fi

: >"$log"
: >"$unfinished"
export PIP_USER=0 SAM2_BUILD_CUDA=0
if [ "$torch" = none ]; then
    what="torch $torch_pin and the rest of requirements.txt installed into $shown"
    first="torch==$torch_pin"
else
    total=$(($(printf '%s\n' "$rest" | wc -l) + 1))
    what="$missing of the $total packages of requirements.txt installed into $shown, whose torch $torch is kept"
    first=
fi
# what builds the packages that come as sources has to be there before them, as has torch
first="$first $(printf '%s\n' "$rest" | grep -E '^(setuptools|wheel)(==|$)' || true)"
# shellcheck disable=SC2086 # one requirement a word
[ -z "${first// /}" ] || pip_install $first
look

# sam2 asks for a torch to be built with, and in isolation pip would download one for that; the constraint keeps the
# torch that is there from being replaced
echo "torch==$torch" >"$constraints"
# shellcheck disable=SC2086
pip_install --no-build-isolation --constraint "$constraints" $rest
rm -f "$constraints" "$unfinished"

echo "setup: $what ($((SECONDS - started)) s)"
