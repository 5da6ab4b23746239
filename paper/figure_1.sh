#!/usr/bin/env bash
# Figure 1: prompt and prediction on slice 122 of coronacases_001 and slice 171 of radiopaedia_10_85902_3.
#
#   paper/figure_1.sh [--working_data_folder_path FOLDER] [--output_folder_path FOLDER] [FLAGS OF process_image.py]
#
# Reads image_NAME and masks_NAME of both volumes in working_data/covid; writes figure_1_NAME_prompt.png and
# figure_1_NAME_prediction.png to paper_results. Without flags the model is SAM ViT-L.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
read_settings "" "$@"

slices="coronacases_001:122 radiopaedia_10_85902_3:171"
for slice in $slices; do find_volume "${slice%:*}"; done # all there, before any work is done
for slice in $slices; do
  name=${slice%:*}
  find_volume "$name"
  process_slice figure_1 "${slice#*:}" --use_bounding_box \
    --figure "$output/figure_1_${name}_prompt.png" prompt --figure "$output/figure_1_${name}_prediction.png" prediction
done
