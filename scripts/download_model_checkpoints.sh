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
. "$root/scripts/flags.sh"

read_flags "..." "$@"
find_python
exec "$python" "$root/scripts/download.py" checkpoints --mirror "${MODEL_CHECKPOINTS_URL_PREFIX:-}" \
    ${options[@]+"${options[@]}"}
