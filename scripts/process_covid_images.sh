#!/usr/bin/env bash
# Segments every slice of the COVID-19 CT data set from a prompt of its own, and joins the results.
#
#   scripts/process_covid_images.sh [--model NAME] [FLAG...] [-- ARGUMENTS OF process_image.py...]
#   scripts/process_covid_images.sh --model large --results_folder_path results_sam2 -- --objects per_label
#
# Takes image_NAME.npy and masks_NAME.npy as scripts/nifti_to_numpy.sh writes them. The prompt of a slice is the
# paper's: points and a bounding box from its masks. Volumes that are done already (same inputs, settings and code) are
# skipped. Exit code 1: a volume failed; the others are done.
#
#   --model NAME, --precision NAME, --device NAME, --threads N
#                                                  as process_image.py has them (default model: vit_l)
#   --working_data_folder_path FOLDER              default: working_data/covid in the repository
#   --results_folder_path FOLDER                   default: results in that folder; give each model one of its own
#   --windowed PATTERN                             names of the volumes in Hounsfield units, which get the lung window;
#                                                  the others are grey already (default: coronacases_*)

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/dataset.sh"

working_data_folder_path=$(in_repository working_data/covid)
results_folder_path= model= precision= device= threads= windowed='coronacases_*'
read_flags "working_data_folder_path results_folder_path model precision device threads windowed --" "$@"
segment_covid process_image.py results
