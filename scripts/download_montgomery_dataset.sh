#!/usr/bin/env bash
# Downloads the Montgomery County chest X-ray set (138 X-rays with lung masks and readings).
#
#   scripts/download_montgomery_dataset.sh [--output_folder_path FOLDER] [--mirror URL]
#
# Afterwards FOLDER holds CXR_png/NAME.png, ManualMask/leftMask/NAME.png, ManualMask/rightMask/NAME.png and
# ClinicalReadings/NAME.txt; what is there already is kept. A download that was cut off is resumed, and the archive is
# checked before it is unpacked and removed. An archive that you put into FOLDER yourself is taken. Exit code 1:
# something could not be had.
#
#   --output_folder_path FOLDER   default: datasets/montgomery in the repository
#   --mirror URL                  stands for the scheme and host of https://openi.nlm.nih.gov

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/download.sh"

output_folder_path=$(in_repository datasets/montgomery) mirror=
read_flags "output_folder_path mirror" "$@"
folder=$output_folder_path
name=NLM-MontgomeryCXRSet
archive=$folder/$name.zip
scratch=$folder/.part-$name

# Unpacks the archive; the folder of X-rays appears last, so that where it is all is there.
place() {
    local xrays part
    unpack "$archive" "$scratch/unpacked"
    xrays=$(find "$scratch/unpacked" -name __MACOSX -prune -o -type d -name CXR_png -print | head -n 1)
    [ -n "$xrays" ] || { error "$archive: holds no folder CXR_png"; return 1; }
    # macOS and Windows leave files of their own in folders
    find "$scratch/unpacked" -type f \( -name '._*' -o -name .DS_Store -o -name Thumbs.db \) -exec rm -f {} \;
    for part in ManualMask ClinicalReadings CXR_png; do
        [ -d "${xrays%/*}/$part" ] || { error "$archive: holds no folder $part"; return 1; }
    done
    for part in ManualMask ClinicalReadings CXR_png; do
        [ -d "$folder/$part" ] || mv "${xrays%/*}/$part" "$folder"
    done
    rm -rf "$scratch" "$archive"
}

mkdir -p "$folder" 2>/dev/null || fail "$folder: cannot be created"
trap 'rm -rf "$scratch"' EXIT
if [ ! -d "$folder/CXR_png" ]; then
    has_unzip
    download_archive "$(address_of "https://openi.nlm.nih.gov/imgs/collections/$name.zip" "$mirror")" "$archive"
    echo "$name: unpacking"
    place
fi
count=0
for file in "$folder"/CXR_png/*.png; do
    stem=${file##*/}
    stem=${stem%.png}
    for other in "ManualMask/leftMask/$stem.png" "ManualMask/rightMask/$stem.png" "ClinicalReadings/$stem.txt"; do
        if [ ! -f "$folder/$other" ]; then
            error "$folder/$other: is missing; remove the folders in $folder to download them again"
            exit 1
        fi
    done
    count=$((count + 1))
done
echo "$folder: $count X-rays with masks and readings"
