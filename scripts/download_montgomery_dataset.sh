#!/usr/bin/env bash
# Downloads the Montgomery County chest X-ray set (138 X-rays with lung masks and readings).
#
#   scripts/download_montgomery_dataset.sh [--output_folder_path FOLDER] [--mirror URL]
#
# Afterwards FOLDER holds CXR_png/NAME.png, ManualMask/leftMask/NAME.png, ManualMask/rightMask/NAME.png and
# ClinicalReadings/NAME.txt; what is there already is kept. A download that was cut off is resumed, and the archive is
# checked before it is unpacked and removed. An archive that you put into FOLDER yourself is taken. Exit code 1:
# something could not be had.
#
#   --output_folder_path FOLDER   default: datasets/montgomery in the repository
#   --mirror URL                  stands for the scheme and host of https://openi.nlm.nih.gov

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"

output_folder_path=$(in_repository datasets/montgomery) mirror=
read_flags "output_folder_path mirror" "$@"
find_python
exec "$python" "$root/scripts/download.py" montgomery --output_folder_path "$output_folder_path" --mirror "$mirror"
