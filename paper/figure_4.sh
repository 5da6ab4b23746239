#!/usr/bin/env bash
# Figure 4: what the negative point does on slice 85 of coronacases_001: where the rule puts it, and displaced.
#
#   paper/figure_4.sh [--rows ROWS] [--working_data_folder_path FOLDER] [--output_folder_path FOLDER]
#                     [FLAGS OF process_image.py]
#
# The point moves down by ROWS rows of the array, up where ROWS is negative (default: 40). Writes figure_4_centre.png and
# figure_4_displaced.png, prompt and prediction, and figure_4.csv and .tex, their metrics, to paper_results. Without flags
# the model is SAM ViT-L; it must be one that takes points.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
rows=40
read_settings "rows" "$@"

find_volume coronacases_001
process_slice figure_4/centre 85 --use_bounding_box --figure "$output/figure_4_centre.png"
process_slice figure_4/displaced 85 --use_bounding_box --displace_negative_point "$rows" \
  --figure "$output/figure_4_displaced.png"
tabulate figure_4 centre="$output/results/figure_4/centre" displaced="$output/results/figure_4/displaced"
