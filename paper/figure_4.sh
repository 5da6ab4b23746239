#!/usr/bin/env bash
# Figure 4: what the negative point does on slice 85 of coronacases_001: where the rule puts it, and displaced.
#
#   paper/figure_4.sh [--rows ROWS] [--working_data_folder_path FOLDER] [--output_folder_path FOLDER] [flags of process_image.py]
#
# The point moves down by ROWS rows of the array, up where ROWS is negative (default: 40). Writes
# figure_4_centre.png and figure_4_displaced.png, prompt and prediction, and figure_4.csv, their metrics, to paper_results.
# Without flags the model is SAM ViT-L; one that takes points.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
rows=40
arguments=()
while [ "$#" -gt 0 ]; do
  if [ "$1" = --rows ]; then
    rows=${2:?--rows needs a number}
    shift 2
  else
    arguments+=("$1")
    shift
  fi
done
read_flags ${arguments[@]+"${arguments[@]}"}

find_volume coronacases_001
process_slice figure_4/centre 85 --use_bounding_box --figure "$output/figure_4_centre.png"
process_slice figure_4/displaced 85 --use_bounding_box --displace_negative_point "$rows" \
  --figure "$output/figure_4_displaced.png"
"$python" "$root/paper/metrics_table.py" --output_folder_path "$output" --name figure_4 \
  --results_folder_path centre="$output/results/figure_4/centre" displaced="$output/results/figure_4/displaced"
