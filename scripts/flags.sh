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
# does not end in --. --help prints the comment at the head of the script.
read_flags() {
    local known=" $1 " name value
    shift
    passed_on=()
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help)
                sed -n -e '/^#!/d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
                exit 0
                ;;
            --)
                [[ $known == *" -- " ]] || fail "--: nothing is passed on here; see --help"
                shift
                passed_on=("$@")
                return
                ;;
            --*)
                name=${1#--}
                name=${name%%=*}
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
            *) fail "$1: not understood; see --help" ;;
        esac
        shift
    done
}
