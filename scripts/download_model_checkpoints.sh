#!/usr/bin/env bash
# Downloads the published checkpoints of SAM, SAM 2 and SAM 2.1: all of them (7.3 GB), or those named.
#
#   scripts/download_model_checkpoints.sh [NAME...]      NAME as --model takes it (vit_l, 2.1_tiny) or a file name
#   scripts/download_model_checkpoints.sh --list
#
# Addresses and SHA-256 hashes come from sam2_configs/. A file that is there and sound is skipped; a download that was
# cut off is resumed; a file gets its name only once its hash is right. Where no hash is known, that of the first
# download is printed and recorded beside the file (FILE.sha256, as sha256sum writes it), and later calls check the file
# against the record. Exit code 1: something could not be had; 2: an unknown name.
#
#   CHECKPOINTS_FOLDER              where the files go (default: model_checkpoints in the repository)
#   MODEL_CHECKPOINTS_URL_PREFIX    a mirror to take them from: stands for the scheme and host of each address

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
configs=$root/sam2_configs
folder=${CHECKPOINTS_FOLDER:-$root/model_checkpoints}
mirror=${MODEL_CHECKPOINTS_URL_PREFIX:-}
. "$root/scripts/download.sh"

# Sets name, checkpoint, url, sha256, size_bytes and packaged to what the YAML file $1 says at its first level; empty
# where it says nothing.
read_config() {
    local key value
    name='' checkpoint='' url='' sha256='' size_bytes='' packaged=''
    while IFS= read -r line || [ -n "$line" ]; do
        line=${line%$'\r'}
        key=${line%%:*}
        value=${line#*:}
        value=${value# }
        value=${value#\"}
        value=${value%\"}
        case $key in
            name) name=$value ;;
            checkpoint) checkpoint=$value ;;
            url) url=$value ;;
            sha256) sha256=$value ;;
            size_bytes) size_bytes=$value ;;
            packaged) packaged=$value ;;
        esac
    done <"$1"
}

sha256_of() {
    if command -v sha256sum >/dev/null; then sha256sum "$1"; else shasum -a 256 "$1"; fi | cut -d ' ' -f 1
}

# Sets sha256 to what the record beside the checkpoint says, where the configuration read last knows no hash; it stays
# empty where there is no record. Returns 1 where the record is none.
read_record() {
    local record=$folder/$checkpoint.sha256 rest
    origin=''
    if [ -n "$sha256" ] || [ ! -e "$record" ]; then return 0; fi
    read -r sha256 rest <"$record" || true
    origin=" as $record says"
    [[ ! $sha256 =~ ^[0-9a-f]{64}$ ]] || return 0
    error "$record: holds no SHA-256; remove it to record that of the file anew"
    return 1
}

# Records the SHA-256 $1 of the checkpoint beside it.
write_record() {
    local record=$folder/$checkpoint.sha256
    if printf '%s  %s\n' "$1" "$checkpoint" 2>/dev/null >"$record.part" && mv -f "$record.part" "$record"; then
        echo "$checkpoint: SHA-256 is $1; no published one is known: recorded in $record"
        return 0
    fi
    error "$record: cannot be written"
    return 1
}

# Downloads the checkpoint of the configuration read last. Returns 1 where it cannot be had.
download() {
    local file=$folder/$checkpoint part=$folder/$checkpoint.part resumed digest address
    address=$(address_of "$url" "$mirror")
    # without a hash nothing would show that the rest of a download belongs to its beginning
    [ -n "$sha256" ] || rm -f "$part"
    while :; do
        resumed=
        if [ -s "$part" ]; then
            resumed=yes
            echo "$checkpoint: resuming after $(megabytes "$(bytes_of "$part")") of $(megabytes "$size_bytes")"
        else
            echo "$checkpoint: downloading ($(megabytes "$size_bytes"))"
        fi
        # nothing is left to ask for where all bytes are there
        if [ -z "$resumed" ] || [ -z "$size_bytes" ] || [ "$(bytes_of "$part")" -lt "$size_bytes" ]; then
            if ! fetch "$address" "$part"; then
                if [ -n "$resumed" ] && [ "$reason" = "the server cannot resume" ]; then
                    # of a part whose full length is not known, the whole file may be there already
                    if [ -n "$size_bytes" ] || [ "$(sha256_of "$part")" != "$sha256" ]; then
                        rm -f "$part"
                        continue
                    fi
                else
                    [ -s "$part" ] || rm -f "$part"
                    error "$address: $reason"
                    return 1
                fi
            fi
        fi
        digest=$(sha256_of "$part")
        if [ -z "$sha256" ] || [ "$digest" = "$sha256" ]; then
            mv -f "$part" "$file" || { error "$file: cannot be written"; return 1; }
            [ -n "$sha256" ] || write_record "$digest"
            return
        fi
        rm -f "$part"
        if [ -z "$resumed" ]; then
            error "$address: SHA-256 is $digest, not $sha256$origin; removed"
            return 1
        fi
        echo "$checkpoint: the resumed download is not sound; from the start again"
    done
}

if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
    sed -n -e '/^#!/d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
fi

known=
for config in "$configs"/*.yaml; do
    [ -f "$config" ] || continue
    read_config "$config"
    [ -n "$url" ] || continue
    known="$known${known:+, }$name"
    [ "${1:-}" != --list ] || printf '%-15s %-26s %s\n' "$name" "$checkpoint" "$(megabytes "$size_bytes")"
done
[ -n "$known" ] || { error "$configs: no model with an address"; exit 2; }
[ "${1:-}" != --list ] || exit 0

# all names are looked up before anything is downloaded
chosen=()
for config in "$configs"/*.yaml; do
    read_config "$config"
    if [ $# = 0 ] && [ -n "$url" ]; then chosen+=("$config"); fi
done
for wanted in "$@"; do
    found=
    for config in "$configs"/*.yaml; do
        read_config "$config"
        if [ "$wanted" = "$name" ] || [ "$wanted" = "$checkpoint" ]; then
            found=yes
            if [ -n "$url" ]; then
                chosen+=("$config")
            elif [ "$packaged" = true ]; then
                echo "$wanted: nothing to download; its weights come inside a package"
            else
                echo "$wanted: nothing to download; ${config##*/} names no address"
            fi
        fi
    done
    [ -n "$found" ] || { error "$wanted: no such model or file; known are $known"; exit 2; }
done

has_downloader || exit 1
command -v sha256sum >/dev/null || command -v shasum >/dev/null || { error "no sha256sum, no shasum"; exit 1; }
mkdir -p "$folder" 2>/dev/null || { error "$folder: cannot be created"; exit 1; }

downloaded=0 sound=0 failed=0 untried=0 offline='' unreachable=' '
for config in ${chosen[@]+"${chosen[@]}"}; do
    read_config "$config"
    host=$(host_of "$(address_of "$url" "$mirror")")
    if [[ $unreachable == *" $host "* ]]; then
        untried=$((untried + 1))
        continue
    fi
    if ! read_record; then
        failed=$((failed + 1))
        continue
    fi
    if [ -f "$folder/$checkpoint" ]; then
        digest=$(sha256_of "$folder/$checkpoint")
        if [ -z "$sha256" ] && ! write_record "$digest"; then
            failed=$((failed + 1))
            continue
        fi
        if [ -z "$sha256" ] || [ "$digest" = "$sha256" ]; then
            sound=$((sound + 1))
            continue
        fi
        echo "$folder/$checkpoint: not sound, its SHA-256 is $digest; replacing it"
    fi
    if download; then
        downloaded=$((downloaded + 1))
    else
        failed=$((failed + 1))
        [ -z "$offline" ] || unreachable="$unreachable$host "
    fi
done

summary="$downloaded downloaded, $sound there already"
[ "$failed" = 0 ] || summary="$summary, $failed failed"
[ "$untried" = 0 ] || summary="$summary, $untried not tried"
echo "checkpoints in $folder: $summary"
[ "$failed" = 0 ]
