# What the scripts of this folder share: their flags, and where the working data lies. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/flags.sh"

# Sets working_data and output, what each of the flags named in $1 says, python, and options: what other programs are to be
# given. The command line comes after $1.
read_settings() {
  local own=$1
  shift
  working_data_folder_path=$root/working_data/covid output_folder_path=$root/paper_results
  read_flags "working_data_folder_path output_folder_path $own ..." "$@"
  working_data=$working_data_folder_path output=$output_folder_path
  find_python
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
