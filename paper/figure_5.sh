#!/usr/bin/env bash
# Figure 5: a prompt improved in four steps on slice 177 of coronacases_001.
#
#   paper/figure_5.sh [--working_data_folder_path FOLDER] [--output_folder_path FOLDER] [FLAGS OF process_image.py]
#
# A positive point per label; with the negative point; with a positive point per contour; with the box. Writes
# figure_5_STEP.png, prompt and prediction of each step, and figure_5.csv, their metrics, to paper_results.
# Without flags the model is SAM ViT-L; it must be one that takes points.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
read_settings "" "$@"

find_volume coronacases_001
steps=()
step() {
  process_slice "figure_5/$1" 177 "${@:2}" --figure "$output/figure_5_$1.png"
  steps+=("$1=$output/results/figure_5/$1")
}
step 1_points --no_negative_point
step 2_negative_point
step 3_contours --use_masks_contours
step 4_box --use_masks_contours --use_bounding_box
tabulate figure_5 "${steps[@]}"
