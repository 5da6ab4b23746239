# Sourced by other scripts: flags on the command line, and what is said of a mistake.

error() {
    printf 'error: %s\n' "$1" >&2
}

# A mistake of the user's.
fail() {
    error "$1"
    exit 2
}

# Prints the folder $1 of the repository as seen from where the user is.
in_repository() {
    if [ "$PWD" -ef "$root" ]; then echo "$1"; else echo "$root/$1"; fi
}

# Sets the variable NAME to what follows each flag --NAME (or --NAME=VALUE) of the command line. $1 lists the names,
# after it comes the command line. What stands after -- is left in the array passed_on, which is refused where the list
# does not end in --. Where the list ends in ..., all that it does not name is left in the array options, in its order.
# --help prints the comment at the head of the script.
read_flags() {
    local known=" $1 " name value
    shift
    passed_on=() options=()
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help)
                sed -n -e '/^#!/d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
                exit 0
                ;;
            --)
                if [[ $known == *" ... "* ]]; then
                    options+=("$@")
                    return
                fi
                [[ $known == *" -- " ]] || fail "--: nothing is passed on here; see --help"
                shift
                passed_on=("$@")
                return
                ;;
            --*)
                name=${1#--}
                name=${name%%=*}
                if [[ $known == *" ... "* && $known != *" $name "* ]]; then
                    options+=("$1")
                    shift
                    continue
                fi
                [[ $known == *" $name "* ]] || fail "--$name: no such flag; see --help"
                if [[ $1 == *=* ]]; then
                    value=${1#*=}
                else
                    value=${2:-}
                    [[ $value != --* ]] || value=
                    [ $# -lt 2 ] || shift
                fi
                [ -n "$value" ] || fail "--$name: needs a value"
                printf -v "$name" %s "$value"
                ;;
            *)
                [[ $known == *" ... "* ]] || fail "$1: not understood; see --help"
                options+=("$1")
                ;;
        esac
        shift
    done
}

# Sets python to that of the project's environment.
find_python() {
    local venv=${POSE_VENV:-$root/.venv}
    python=$venv/bin/python
    [ -x "$python" ] || fail "$venv: is no virtual environment; run scripts/setup.sh first"
}
