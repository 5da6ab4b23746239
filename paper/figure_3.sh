#!/usr/bin/env bash
# Figure 3: SAM beside SAM 2, a prompt on every slice, as box plots over all volumes, coronacases and radiopaedia.
#
#   paper/figure_3.sh [--sam NAME] [--sam2 NAME] [--working_data_folder_path FOLDER] [--output_folder_path FOLDER]
#                     [FLAGS OF comparison/create_comparison_boxplot.py...]
#
# Reads results_NAME in the working data folder (default: working_data/covid) of the models --sam (default: vit_l)
# and --sam2 (default: large), such as scripts/process_covid_images.sh writes with --results_folder_path. Writes
# figure_3.pdf and .png, figure_3.csv (the statistics) and figure_3_outliers.csv (slices beyond the whiskers) to
# paper_results.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sam=vit_l sam2=large working_data=$root/working_data/covid output=$root/paper_results options=()
while [ "$#" -gt 0 ]; do
  case $1 in
    -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --sam | --sam2 | --working_data_folder_path | --output_folder_path)
      [ "$#" -gt 1 ] || fail "$1: needs a value"
      case $1 in
        --sam) sam=$2 ;;
        --sam2) sam2=$2 ;;
        --working_data_folder_path) working_data=$2 ;;
        --output_folder_path) output=$2 ;;
      esac
      shift 2 ;;
    *) options+=("$1"); shift ;;
  esac
done
python=${POSE_VENV:-$root/.venv}/bin/python
[ -x "$python" ] || fail "${POSE_VENV:-$root/.venv}: no virtual environment; run scripts/setup.sh first"
for model in "$sam" "$sam2"; do
  folder=$working_data/results_$model
  made="scripts/process_covid_images.sh --model $model --results_folder_path $folder"
  [ -d "$folder" ] || fail "$folder: no such folder; $made makes it"
done
exec "$python" "$root/comparison/create_comparison_boxplot.py" \
  --results_folder_path "SAM $sam=$working_data/results_$sam" "SAM 2 $sam2=$working_data/results_$sam2" \
  --subsets all coronacases radiopaedia --output_folder_path "$output" --name figure_3 ${options[@]+"${options[@]}"}
