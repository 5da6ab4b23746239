#!/usr/bin/env bash
# Downloads the COVID-19 CT Lung and Infection Segmentation Dataset (20 chest CTs) and its lung masks.
#
#   scripts/download_covid_dataset.sh [--output_folder_path FOLDER] [--mirror URL]
#
# Afterwards FOLDER holds COVID-19-CT-Seg_20cases/NAME.nii.gz and Lung_Mask/NAME.nii.gz; what is there already is kept.
# A download that was cut off is resumed, and an archive is checked before it is unpacked and removed. An archive that
# you put into FOLDER yourself is taken. Exit code 1: something could not be had.
#
#   --output_folder_path FOLDER   default: datasets/covid in the repository
#   --mirror URL                  stands for the scheme and host of https://zenodo.org

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/download.sh"

output_folder_path=$(in_repository datasets/covid) mirror=
read_flags "output_folder_path mirror" "$@"
folder=$output_folder_path
parts="COVID-19-CT-Seg_20cases Lung_Mask"

volumes_in() {
    find "$1" -type f -name '*.nii.gz' 2>/dev/null | wc -l | tr -d ' '
}

# Downloads and unpacks the archive $1; its volumes appear in a folder of that name all at once.
get() {
    local archive=$folder/$1.zip scratch=$folder/.part-$1
    download_archive "$(address_of "https://zenodo.org/record/3757476/files/$1.zip" "$mirror")" "$archive"
    echo "$1: unpacking"
    unpack "$archive" "$scratch/unpacked"
    mkdir "$scratch/$1"
    # macOS leaves shadows of files in its archives
    find "$scratch/unpacked" -name __MACOSX -prune -o \
        -type f -name '*.nii.gz' ! -name '._*' -exec mv {} "$scratch/$1" \;
    [ "$(volumes_in "$scratch/$1")" -gt 0 ] || { error "$archive: holds no .nii.gz"; return 1; }
    if [ -d "$folder/$1" ] && ! rmdir "$folder/$1" 2>/dev/null; then
        error "$folder/$1: holds other things than .nii.gz"
        return 1
    fi
    mv "$scratch/$1" "$folder"
    rm -rf "$scratch" "$archive"
}

mkdir -p "$folder" 2>/dev/null || fail "$folder: cannot be created"
trap 'rm -rf "$folder"/.part-*' EXIT
for part in $parts; do
    [ "$(volumes_in "$folder/$part")" = 0 ] || continue
    has_unzip
    get "$part"
done
for part in $parts; do
    for other in $parts; do
        for file in "$folder/$part"/*.nii.gz; do
            if [ ! -f "$folder/$other/${file##*/}" ]; then
                error "$file: is not in $folder/$other; remove both folders to download them again"
                exit 1
            fi
        done
    done
    echo "$folder/$part: $(volumes_in "$folder/$part") volumes"
done
