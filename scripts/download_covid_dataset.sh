#!/usr/bin/env bash
# Downloads the COVID-19 CT Lung and Infection Segmentation Dataset (20 chest CTs) and its lung masks.
#
#   scripts/download_covid_dataset.sh [--output_folder_path FOLDER] [--mirror URL]
#
# Afterwards FOLDER holds COVID-19-CT-Seg_20cases/NAME.nii.gz and Lung_Mask/NAME.nii.gz; what is there already is kept.
# A download that was cut off is resumed, and an archive is checked before it is unpacked and removed. An archive that
# you put into FOLDER yourself is taken. Exit code 1: something could not be had.
#
#   --output_folder_path FOLDER   default: datasets/covid in the repository
#   --mirror URL                  stands for the scheme and host of https://zenodo.org

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"

output_folder_path=$(in_repository datasets/covid) mirror=
read_flags "output_folder_path mirror" "$@"
find_python
exec "$python" "$root/scripts/download.py" covid --output_folder_path "$output_folder_path" --mirror "$mirror"
