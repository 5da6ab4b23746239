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

. "$(dirname "$0")/settings.sh"
sam=vit_l sam2=large
read_settings "sam sam2" "$@"

for model in "$sam" "$sam2"; do
  folder=$working_data/results_$model
  made="scripts/process_covid_images.sh --model $model --results_folder_path $folder"
  [ -d "$folder" ] || fail "$folder: no such folder; $made makes it"
done
exec "$python" "$root/comparison/create_comparison_boxplot.py" \
  --results_folder_path "SAM $sam=$working_data/results_$sam" "SAM 2 $sam2=$working_data/results_$sam2" \
  --subsets all coronacases radiopaedia --output_folder_path "$output" --name figure_3 ${options[@]+"${options[@]}"}
