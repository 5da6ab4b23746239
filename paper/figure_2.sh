#!/usr/bin/env bash
# Figure 2: on slice 98 of coronacases_001 a centre of mass lies outside its lung, and is moved inside.
#
#   paper/figure_2.sh [--working_data_folder_path FOLDER] [--output_folder_path FOLDER] [FLAGS OF process_image.py]
#
# Reads image_coronacases_001 and masks_coronacases_001 in working_data/covid; writes figure_2_outside.png and
# figure_2_inside.png to paper_results, the prompt alone. Without flags the model is SAM ViT-L; it must be one that takes
# points.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
read_settings "" "$@"

find_volume coronacases_001
process_slice figure_2/outside 98 --use_bounding_box --no_move_centroids --figure "$output/figure_2_outside.png" prompt
process_slice figure_2/inside 98 --use_bounding_box --figure "$output/figure_2_inside.png" prompt
