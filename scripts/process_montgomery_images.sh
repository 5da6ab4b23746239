#!/usr/bin/env bash
# Segments the lungs on every X-ray of the Montgomery set from a prompt of its own, and joins the results.
#
#   scripts/process_montgomery_images.sh [--model NAME] [FLAG...] [-- ARGUMENTS OF process_image.py...]
#   scripts/process_montgomery_images.sh --model large --results_folder_path results_sam2
#
# Takes image_NAME.npy and masks_NAME.npy as scripts/montgomery_to_numpy.py writes them. The prompt is the paper's:
# points and a bounding box from the masks. X-rays that are done already (same inputs, settings and code) are skipped.
# Exit code 1: an X-ray failed; the others are done.
#
#   --model NAME, --precision NAME, --device NAME, --threads N
#                                                  as process_image.py has them (default model: vit_l)
#   --working_data_folder_path FOLDER              default: working_data/montgomery in the repository
#   --results_folder_path FOLDER                   default: results in that folder; give each model one of its own

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/dataset.sh"

working_data_folder_path=$(in_repository working_data/montgomery)
results_folder_path= model= precision= device= threads=
read_flags "working_data_folder_path results_folder_path model precision device threads --" "$@"
results_folder_path=${results_folder_path:-$working_data_folder_path/results}
find_python
find_pairs "$working_data_folder_path" '*'

segment process_image.py
join_and_end
