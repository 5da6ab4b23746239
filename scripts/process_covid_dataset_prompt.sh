#!/usr/bin/env bash
# Segments all volumes of the COVID-19 CT data set from one prompt on one slice of one of them, and joins the results.
#
#   scripts/process_covid_dataset_prompt.sh [--model NAME] [--seed NAME] [FLAG...] [-- ARGUMENTS OF process_video.py...]
#   scripts/process_covid_dataset_prompt.sh --model 2.1_tiny --seed coronacases_001 --seed_slice 122
#
# Takes image_NAME.npy and masks_NAME.npy as scripts/nifti_to_numpy.sh writes them; masks only score, but for those of
# the seed slice. What the model sees is alike in all volumes: those in Hounsfield units get the lung window, the others
# hold grey levels from 0 to 255, as such a window gives them, and are shown as they are. The seed slice is shown as
# its own volume is. Volumes that are done already (same inputs, settings and code) are skipped; the seed's own is left
# out of the joined statistics. Exit code 1: a volume failed; the others are done.
#
#   --model NAME, --precision NAME, --device NAME, --threads N
#                                                  as process_video.py has them; a model of SAM 2 (default: large)
#   --seed NAME                                    the volume with the prompted slice (default: coronacases_001)
#   --seed_slice centre|largest|N                  that slice (default: centre, the middle of its masked slices)
#   --working_data_folder_path FOLDER              default: working_data/covid in the repository
#   --results_folder_path FOLDER                   default: results_dataset_prompt in that folder; give each model one
#                                                  of its own
#   --windowed PATTERN                             names of the volumes in Hounsfield units (default: coronacases_*)

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/dataset.sh"

working_data_folder_path=$(in_repository working_data/covid)
results_folder_path= model= precision= device= threads= windowed='coronacases_*' seed=coronacases_001 seed_slice=centre
read_flags "working_data_folder_path results_folder_path model precision device threads windowed seed seed_slice --" "$@"
results_folder_path=${results_folder_path:-$working_data_folder_path/results_dataset_prompt}
find_python
find_pairs "$working_data_folder_path" "$windowed"

find_volume "$seed"
[ -n "$image" ] || fail "--seed $seed: there is no $working_data_folder_path/image_$seed.npy"
as_it_is="127.5 255"
# shellcheck disable=SC2053 # a pattern
if [[ $seed == $windowed ]]; then seed_window=lung; else seed_window=$as_it_is; fi
# shellcheck disable=SC2206 # a window may be two words
seed_flags=(--seed_image_file_path "$image" --seed_masks_file_path "$mask" --seed_slice "$seed_slice"
    --seed_window $seed_window)

segment process_video.py "${seed_flags[@]}" --window lung
to_others
# shellcheck disable=SC2086
segment process_video.py "${seed_flags[@]}" --window $as_it_is
join_and_end
