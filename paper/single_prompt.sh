#!/usr/bin/env bash
# The main claim: one prompt for a volume, and one for the whole data set, beside a prompt on every slice.
#
#   paper/single_prompt.sh [--model NAME] [--working_data_folder_path FOLDER] [--output_folder_path FOLDER]
#                          [FLAGS OF scripts/process_covid_images.sh...]
#
# Segments what is not segmented yet, into results_NAME, results_video_NAME and results_dataset_prompt_NAME in the folder of
# the working data, by the model --model of SAM 2 (default: large). Writes single_prompt.csv and .tex, the metrics of each
# way and the prompts that it saved, and single_prompt_volumes.csv, .pdf and .png, to paper_results. The volume with the
# prompt for the data set is left out of single_prompt.csv.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
model=large
read_settings "model" "$@"

folders=()
for way in images:results videos:results_video dataset_prompt:results_dataset_prompt; do
  folder=$working_data/${way#*:}_$model
  folders+=("$folder")
  "$root/scripts/process_covid_${way%:*}.sh" --working_data_folder_path "$working_data" --model "$model" \
    --results_folder_path "$folder" ${options[@]+"${options[@]}"}
done
tabulate single_prompt "every slice=${folders[0]}" "one a volume=${folders[1]}" "one in all=${folders[2]}" \
  --data_sets coronacases radiopaedia --per_volume
