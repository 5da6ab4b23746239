#!/usr/bin/env bash
# From a fresh clone to segmented masks and their scores: sets up .venv, then runs every script once on a chest CT.
#
#   scripts/quickstart.sh                                    on a synthetic chest CT, made here
#   scripts/quickstart.sh my_ct.nii.gz my_mask.nii.gz        on your own scan and its ground-truth mask
#   scripts/quickstart.sh my_ct.nii.gz                       shows your own scan, and how to give the prompt
#   scripts/quickstart.sh dicom_folder --series 3            the same on DICOM
#   scripts/quickstart.sh my_ct.nii.gz --slice 60 --box 24 44 86 109
#
# Further arguments, such as --window liver, go to process_video.py, and with a mask to process_image.py. Everything is
# written to quickstart/, what the scripts say to quickstart/log.txt.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"

read_flags "..." "$@"
[[ ${1-} != -* ]] || fail "$1: the scan comes first; see --help"
files=() given=("$@")
while [ $# -gt 0 ] && [[ $1 != -* ]]; do
    [ "${#files[@]}" -lt 2 ] || fail "$1: a scan and its mask are all that is taken; see --help"
    [ -e "$1" ] || fail "$1: no such file"
    files+=("$(cd "$(dirname "$1")" && pwd)/$(basename "$1")")
    shift
done
options=() dicom=()
while [ $# -gt 0 ]; do
    case $1 in
        --series) dicom+=("$1" "${2-}") && shift ;;
        --suv | --series=*) dicom+=("$1") ;;
        *) options+=("$1") ;;
    esac
    shift
done

venv=${POSE_VENV:-$root/.venv}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
export POSE_VENV=$venv
"$root/scripts/setup.sh"
find_python
cd "$root"
folder=quickstart
mkdir -p "$folder"
log=$folder/log.txt
: >"$log"

if [ "${#files[@]}" = 0 ]; then
    "$python" scripts/make_phantom.py --output_folder_path "$folder" --shape 256 256 28 >>"$log"
    files=("$folder/chest_phantom_ct.nii.gz" "$folder/chest_phantom_lungs.nii.gz")
    options=(--window lung)
fi
name=$(basename "${files[0]}")
if [ ! -d "${files[0]}" ]; then
    name=${name%.gz}
    for suffix in nii hdr img nrrd nhdr mha mhd png zip dcm dicom ima npz npy; do name=${name%."$suffix"}; done
fi
image=$folder/working_data/$name.npz masks=$folder/working_data/${name}_masks.npz
rm -rf "$folder/results/$name" "$folder/results_video/$name"

# Segments with the script $1 into the folder $2 and joins the results; the rest are arguments.
segment() {
    "$python" "$1" --image_file_path "$image" --model lite_medsam --results_folder_path "$folder/$2" "${@:3}" \
        ${options[@]+"${options[@]}"} >>"$log"
    "$python" join_results.py --results_folder_path "$folder/$2" >>"$log"
}

# Prints the newest file $2 of the folder of results $1.
newest() {
    ls -t "$folder/$1/$name"/$2 | head -n 1
}

# Prints the average of the metric $2 over the volume in the folder of results $1.
average() {
    sed -n "s/^$2,[^,]*,[^,]*,\([^,]*\).*/\1/p" "$(newest "$1" 'results_*.csv')"
}

echo "== convert"
"$python" nifti_to_numpy.py --input_file_path "${files[0]}" --output_file_path "$image" --swap_axes \
    ${dicom[@]+"${dicom[@]}"} >>"$log"
prompt=()
if [ "${#files[@]}" = 2 ]; then
    "$python" nifti_to_numpy.py --input_file_path "${files[1]}" --output_file_path "$masks" --swap_axes >>"$log"
    prompt=(--masks_file_path "$masks" --objects per_label --use_bounding_box)
    echo "== a prompt on every slice"
    segment process_image.py results "${prompt[@]}"
elif [[ ! " ${options[*]-} " =~ \ --(box|point|prompt_file_path)[\ =] ]]; then
    "$python" scripts/look.py "$image" --output_file_path "$folder/results_video/${name}_scan.png" \
        --command "scripts/quickstart.sh$(printf ' %q' "${given[@]}")" ${options[@]+"${options[@]}"}
    exit 0
fi
echo "== one prompt for the volume"
segment process_video.py results_video ${prompt[@]+"${prompt[@]}"}

echo
echo "picture: $(newest results_video 'contact_sheet_*.png')"
echo "masks:   $(newest results_video 'masks_*.nii.gz') (open it over ${files[0]} in any viewer)"
if [ "${#files[@]}" = 2 ]; then
    LC_ALL=C printf 'Dice:    %.3f from one prompt for the volume, %.3f from a prompt on every slice\n' \
        "$(average results_video volume_dice)" "$(average results volume_dice)"
fi
LC_ALL=C printf 'review:  %.0f slices on which the model is in doubt (needs_review in %s)\n' \
    "$(average results_video slices_to_review)" "$(newest results_video 'raw_data_*.csv')"
echo "tables:  $folder/results_video, their statistics in $log"
