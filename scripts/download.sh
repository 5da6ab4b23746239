# Sourced by the scripts that download: files and archives over HTTP, with curl or wget.

. "$root/scripts/flags.sh"

megabytes() {
    if [ -n "$1" ]; then echo "$((($1 + 500000) / 1000000)) MB"; else echo "size unknown"; fi
}

bytes_of() {
    wc -c <"$1" | tr -d ' '
}

# Prints the address $1 as the mirror $2 has it, which stands for scheme and host; without a mirror, $1.
address_of() {
    local path=${1#*://}
    if [ -n "$2" ]; then echo "${2%/}/${path#*/}"; else echo "$1"; fi
}

host_of() {
    local host=${1#*://}
    echo "${host%%/*}"
}

has_downloader() {
    command -v curl >/dev/null || command -v wget >/dev/null || { error "neither curl nor wget is there"; return 1; }
}

# Fetches $1 into $2, going on after what $2 holds already. On a failure, reason says why, and offline whether no other
# address of the same host is worth trying.
fetch() {
    local status=0 http=
    reason='' offline=
    if command -v curl >/dev/null; then
        local progress=(--silent)
        [ ! -t 2 ] || progress=(--progress-bar)
        http=$(curl --fail --location "${progress[@]}" --continue-at - --output "$2" --write-out '%{http_code}' \
            --connect-timeout 20 --speed-limit 1000 --speed-time 60 --retry 2 "$1") || status=$?
        case $status in
            0) return 0 ;;
            5 | 6) reason="the host is not found" offline=yes ;;
            7) reason="no connection" offline=yes ;;
            18 | 52 | 55 | 56) reason="the connection broke" ;;
            22) reason="the server answered $http" ;;
            23) reason="$2 cannot be written" ;;
            28) reason="no answer in time" offline=yes ;;
            33) reason="the server cannot resume" ;;
            35 | 51 | 60) reason="no secure connection" offline=yes ;;
            *) reason="curl ended with code $status" ;;
        esac
        [ "$http" != 416 ] || reason="the server cannot resume"
    else
        local progress=(-q)
        if [ -t 2 ] && wget --help 2>&1 | grep -q -e --show-progress; then progress=(-q --show-progress); fi
        wget "${progress[@]}" -c -T 30 -O "$2" "$1" || status=$?
        case $status in
            0) return 0 ;;
            3) reason="$2 cannot be written" ;;
            4) reason="no connection" offline=yes ;;
            5) reason="no secure connection" offline=yes ;;
            8) reason="the server answered with an error" ;;
            *) reason="wget ended with code $status" ;;
        esac
    fi
    return 1
}


# Downloads the zip archive at $1 to the file $2, which appears only once it is whole and sound; what an earlier call
# has got of it is kept. An archive that is there already, downloaded by hand, is taken. Returns 1 where it cannot be
# had.
download_archive() {
    local part=$2.part resumed
    if [ -f "$2" ]; then
        if is_archive "$2"; then
            echo "$2: there already"
            return 0
        fi
        error "$2: is not a sound zip archive; remove it to download it again"
        return 1
    fi
    has_downloader || return 1
    while :; do
        resumed=
        if [ -s "$part" ]; then
            resumed=yes
            echo "${2##*/}: resuming after $(megabytes "$(bytes_of "$part")")"
        else
            echo "${2##*/}: downloading"
        fi
        if ! fetch "$1" "$part"; then
            if [ -n "$resumed" ] && [ "$reason" = "the server cannot resume" ]; then
                # all of it may be there already
                is_archive "$part" || { rm -f "$part"; continue; }
            else
                [ -s "$part" ] || rm -f "$part"
                [ -z "$offline" ] || reason="$reason; is this machine online? The same command goes on from here"
                error "$1: $reason"
                return 1
            fi
        fi
        if is_archive "$part"; then
            mv -f "$part" "$2"
            return
        fi
        rm -f "$part"
        if [ -z "$resumed" ]; then
            error "$1: what came is not a sound zip archive; removed"
            return 1
        fi
        echo "${2##*/}: the resumed download is not sound; from the start again"
    done
}

has_unzip() {
    command -v unzip >/dev/null && return
    error "unzip is not there; install it (Debian, Ubuntu: apt install unzip)"
    return 1
}

# unzip ends with 1 where it has a remark on an archive but could read all of it
is_archive() {
    local status=0
    unzip -tqq "$1" >/dev/null 2>&1 </dev/null || status=$?
    [ "$status" -le 1 ]
}

# Unpacks the archive $1 into the folder $2, which is made anew.
unpack() {
    local status=0
    rm -rf "$2"
    mkdir -p "$2"
    unzip -q -o "$1" -d "$2" >/dev/null 2>"$2.log" </dev/null || status=$?
    if [ "$status" -gt 1 ]; then
        error "$1: cannot be unpacked: $(tail -n 1 "$2.log")"
        return 1
    fi
}
