# What the scripts of this folder share: their flags, and where the working data lies. Sourced, not run.
#
#   --working_data_folder_path FOLDER   holds image_NAME and masks_NAME, .npy or .npz (default: working_data/covid)
#   --output_folder_path FOLDER         pictures and tables; results lie under it (default: paper_results)
#   --help
#
# All other arguments are collected in "options", for process_image.py and process_video.py.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${POSE_VENV:-$root/.venv}/bin/python
[ -x "$python" ] || python=python3
working_data=working_data/covid
output=paper_results
options=()

# read_flags "$@": sets working_data, output and options
read_flags() {
  while [ "$#" -gt 0 ]; do
    case $1 in
      -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
      --working_data_folder_path | --output_folder_path)
        [ "$#" -gt 1 ] || { echo "error: $1: needs a folder" >&2; exit 2; }
        if [ "$1" = --output_folder_path ]; then output=$2; else working_data=$2; fi
        shift 2 ;;
      *) options+=("$1"); shift ;;
    esac
  done
}

# find_volume NAME: sets image, masks and window (the published COVID volumes called coronacases are in Hounsfield
# units, the others in grey levels)
find_volume() {
  local part suffix
  for part in image masks; do
    suffix=npy
    [ -f "$working_data/${part}_$1.npy" ] || suffix=npz
    [ -f "$working_data/${part}_$1.$suffix" ] || {
      echo "error: $working_data/${part}_$1.npy: no such file; nifti_to_numpy.py makes it" >&2
      exit 2
    }
    printf -v "$part" %s "$working_data/${part}_$1.$suffix"
  done
  window=()
  case $1 in coronacases*) window=(--apply_windowing) ;; esac
}

# process_slice RESULTS N ARGUMENTS...: a prompt on slice N of the volume found
process_slice() {
  "$python" "$root/process_image.py" --image_file_path "$image" --masks_file_path "$masks" --slice "$2" \
    ${window[@]+"${window[@]}"} --results_folder_path "$output/results/$1" "${@:3}" ${options[@]+"${options[@]}"}
}
