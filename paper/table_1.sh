#!/usr/bin/env bash
# Table 1: the metrics of SAM and of SAM 2, a prompt on every slice, over all volumes and by their origin.
#
#   paper/table_1.sh [--sam NAME] [--sam2 NAME] [--working_data_folder_path FOLDER] [--output_folder_path FOLDER]
#                    [FLAGS OF scripts/process_covid_images.sh...]
#
# Segments what is not segmented yet, into results_NAME in the folder of the working data, by the models --sam (default:
# vit_l) and --sam2 (default: large). Writes table_1.csv and .tex, and table_1_volumes.csv, .pdf and .png, to paper_results.
set -euo pipefail
. "$(dirname "$0")/settings.sh"
sam=vit_l sam2=large
read_settings "sam sam2" "$@"

for model in "$sam" "$sam2"; do
  "$root/scripts/process_covid_images.sh" --working_data_folder_path "$working_data" --model "$model" \
    --results_folder_path "$working_data/results_$model" ${options[@]+"${options[@]}"}
done
tabulate table_1 "SAM $sam=$working_data/results_$sam" "SAM 2 $sam2=$working_data/results_$sam2" \
  --data_sets coronacases radiopaedia --per_volume
