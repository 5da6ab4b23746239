#!/usr/bin/env bash
# Converts the COVID-19 CT data set to working data: all volumes and their lung masks, rows first.
#
#   scripts/nifti_to_numpy.sh [--input_folder_path FOLDER] [--output_folder_path FOLDER]
#
# Reads COVID-19-CT-Seg_20cases/NAME.nii.gz and Lung_Mask/NAME.nii.gz in the input folder, and writes image_NAME.npy and
# masks_NAME.npy, each with its geometry in a .json. A file that is newer than its source is kept, and one that cannot
# be converted does not stop the others (exit code 1). Other data laid out in the same way is converted just as well.
#
#   --input_folder_path FOLDER    default: datasets/covid in the repository
#   --output_folder_path FOLDER   default: working_data/covid in the repository

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/dataset.sh"

input_folder_path=$(in_repository datasets/covid) output_folder_path=$(in_repository working_data/covid)
read_flags "input_folder_path output_folder_path" "$@"
find_python
scans=$input_folder_path/COVID-19-CT-Seg_20cases
lungs=$input_folder_path/Lung_Mask

for scan in "$scans"/*.nii.gz; do
    [ -f "$scan" ] || fail "$scans: holds no .nii.gz; scripts/download_covid_dataset.sh downloads them"
    [ -f "$lungs/${scan##*/}" ] || fail "$scan: its masks $lungs/${scan##*/} are missing"
done
converted=0 kept=0 failed=0
for scan in "$scans"/*.nii.gz; do
    name=${scan##*/}
    for pair in "image:$scan" "masks:$lungs/$name"; do
        source=${pair#*:}
        target=$output_folder_path/${pair%%:*}_${name%.nii.gz}.npy
        if [ "$target" -nt "$source" ]; then
            kept=$((kept + 1))
            continue
        fi
        code=0
        "$python" "$root/nifti_to_numpy.py" --input_file_path "$source" --output_file_path "$target" --swap_axes ||
            code=$?
        case $code in
            0) converted=$((converted + 1)) ;;
            2) failed=$((failed + 1)) ;;
            *) exit "$code" ;;
        esac
    done
done
summary="$converted converted, $kept there already"
[ "$failed" = 0 ] || summary="$summary, $failed failed"
echo "working data in $output_folder_path: $summary"
[ "$failed" = 0 ]
