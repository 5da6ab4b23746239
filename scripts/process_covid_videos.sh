#!/usr/bin/env bash
# Segments each volume of the COVID-19 CT data set from one prompt on its centre slice, and joins the results.
#
#   scripts/process_covid_videos.sh [--model NAME] [FLAG...] [-- ARGUMENTS OF process_video.py...]
#   scripts/process_covid_videos.sh --model 2.1_tiny -- --objects per_label --image_size 512
#
# Takes image_NAME.npy and masks_NAME.npy as scripts/nifti_to_numpy.sh writes them. The prompt is the paper's: points
# and a bounding box from the masks of the slice in the middle of the masked ones. Volumes that are done already (same
# inputs, settings and code) are skipped. Exit code 1: a volume failed; the others are done.
#
#   --model NAME, --precision NAME, --device NAME, --threads N
#                                                  as process_video.py has them (default model: large, of SAM 2)
#   --working_data_folder_path FOLDER              default: working_data/covid in the repository
#   --results_folder_path FOLDER                   default: results_video in that folder; give each model one of its own
#   --windowed PATTERN                             names of the volumes in Hounsfield units, which get the lung window;
#                                                  the others are grey already (default: coronacases_*)

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/dataset.sh"

working_data_folder_path=$(in_repository working_data/covid)
results_folder_path= model= precision= device= threads= windowed='coronacases_*'
read_flags "working_data_folder_path results_folder_path model precision device threads windowed --" "$@"
segment_covid process_video.py results_video
