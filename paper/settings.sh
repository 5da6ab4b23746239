# What the scripts of this folder share: their flags, and where the working data lies. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
working_data=$root/working_data/covid
output=$root/paper_results
options=()

fail() {
  echo "error: $*" >&2
  exit 2
}

python=${POSE_VENV:-$root/.venv}/bin/python
[ -x "$python" ] || fail "${POSE_VENV:-$root/.venv}: is no virtual environment; run scripts/setup.sh first"

# Sets working_data and output, and collects in options what other programs are to be given. Further flags of a script,
# named in "own", set variables of their names.
own=
read_flags() {
  local name
  while [ "$#" -gt 0 ]; do
    name=${1#--}
    case $1 in
      -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
      --working_data_folder_path) name=working_data ;;
      --output_folder_path) name=output ;;
      --*) case " $own " in *" $name "*) ;; *) name= ;; esac ;;
      *) name= ;;
    esac
    if [ -z "$name" ]; then
      options+=("$1")
      shift
    else
      [ "$#" -gt 1 ] || fail "$1: needs a value"
      printf -v "$name" %s "$2"
      shift 2
    fi
  done
}

# Sets image and masks to the working data of the volume $1, and window to what it needs to be seen: the volumes called
# coronacases are in Hounsfield units, the others are grey already.
find_volume() {
  local part suffix
  for part in image masks; do
    suffix=npy
    [ -f "$working_data/${part}_$1.npy" ] || suffix=npz
    [ -f "$working_data/${part}_$1.$suffix" ] ||
      fail "$working_data/${part}_$1.npy: no such file; nifti_to_numpy.py makes it"
    printf -v "$part" %s "$working_data/${part}_$1.$suffix"
  done
  window=()
  case $1 in coronacases*) window=(--apply_windowing) ;; esac
}

# Prompts slice $2 of the volume found, with the arguments that follow; results go to the folder $1 of all results.
process_slice() {
  "$python" "$root/process_image.py" --image_file_path "$image" --masks_file_path "$masks" --slice "$2" \
    ${window[@]+"${window[@]}"} --results_folder_path "$output/results/$1" "${@:3}" ${options[@]+"${options[@]}"}
}

# Writes the metrics of the results that follow, each NAME=FOLDER, to the table $1.
tabulate() {
  "$python" "$root/paper/metrics_table.py" --output_folder_path "$output" --name "$1" --results_folder_path "${@:2}"
}
