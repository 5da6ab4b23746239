#!/usr/bin/env bash
# From a fresh clone to segmented masks and their scores: sets up .venv, then runs every script once on a chest CT.
#
#   scripts/quickstart.sh                                    on a synthetic chest CT, made here
#   scripts/quickstart.sh my_ct.nii.gz my_mask.nii.gz        on your own scan and its ground-truth mask
#   scripts/quickstart.sh my_ct.nii.gz my_mask.nii.gz --window liver --labels 1
#
# Further arguments go to process_image.py and process_video.py. Everything is written to quickstart/.
set -euo pipefail

if [ "$#" -eq 1 ] || { [ "$#" -gt 0 ] && [[ "$1" == -* ]]; }; then
  sed -n '2,9s/^# \{0,1\}//p' "$0"
  exit 2
fi
files=()
for file in "${@:1:2}"; do
  [ -f "$file" ] || { echo "error: $file: no such file" >&2; exit 2; }
  files+=("$(cd "$(dirname "$file")" && pwd)/$(basename "$file")")
done
options=("${@:3}")

root=$(cd "$(dirname "$0")/.." && pwd)
venv=${POSE_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
export POSE_VENV=$venv
"$root/scripts/setup.sh"
cd "$root"
python=$venv/bin/python
folder=quickstart
mkdir -p "$folder"

if [ "${#files[@]}" -eq 0 ]; then
  "$python" scripts/make_phantom.py --output_folder_path "$folder" --shape 256 256 28
  files=("$folder/chest_phantom_ct.nii.gz" "$folder/chest_phantom_lungs.nii.gz")
  options=(--window lung)
fi
name=$(basename "${files[0]}"); name=${name%.gz}; name=${name%.nii}
image=$folder/working_data/$name.npz masks=$folder/working_data/${name}_masks.npz
rm -rf "$folder/results/$name" "$folder/results_video/$name"

echo "== convert"
"$python" nifti_to_numpy.py --input_file_path "${files[0]}" --output_file_path "$image" --swap_axes
"$python" nifti_to_numpy.py --input_file_path "${files[1]}" --output_file_path "$masks" --swap_axes
echo "== a prompt on every slice"
"$python" process_image.py --image_file_path "$image" --masks_file_path "$masks" --model lite_medsam --objects per_label \
  --use_bounding_box --results_folder_path "$folder/results" ${options[@]+"${options[@]}"}
echo "== one prompt for the volume"
"$python" process_video.py --image_file_path "$image" --masks_file_path "$masks" --model lite_medsam --objects per_label \
  --use_bounding_box --results_folder_path "$folder/results_video" ${options[@]+"${options[@]}"}
for results in results results_video; do
  echo "== $results"
  "$python" join_results.py --results_folder_path "$folder/$results"
done
echo
echo "picture: $(ls -t "$folder/results_video/$name"/contact_sheet_*.png | head -n 1)"
echo "masks:   $(ls -t "$folder/results_video/$name"/masks_*.nii.gz | head -n 1) (open it over ${files[0]} in any viewer)"
