# Sourced by the scripts that work on a whole data set: its volumes, and what is run on all of them.

. "$root/scripts/flags.sh"

status=0

# Adds image_NAME.npy (or .npz) of the folder $1 to images, and masks_NAME to masks, for each NAME like the pattern $2;
# to other_images and other_masks where it is not.
find_pairs() {
    local image name mask suffix
    images=() masks=() other_images=() other_masks=()
    for image in "$1"/image_*.np[yz]; do
        [ -f "$image" ] || fail "$1: holds no working data (image_NAME.npy or .npz); convert the data set first"
        name=${image##*/image_}
        name=${name%.np?}
        mask=
        for suffix in npy npz; do
            [ ! -f "$1/masks_$name.$suffix" ] || mask=$1/masks_$name.$suffix
        done
        [ -n "$mask" ] || fail "$image: its masks $1/masks_$name.npy are missing"
        # shellcheck disable=SC2053 # a pattern
        if [[ $name == $2 ]]; then
            images+=("$image") masks+=("$mask")
        else
            other_images+=("$image") other_masks+=("$mask")
        fi
    done
}

# Sets image and mask to those of the volume called $1, or to nothing where it is not among those found.
find_volume() {
    local index all=(${images[@]+"${images[@]}"} ${other_images[@]+"${other_images[@]}"})
    local all_masks=(${masks[@]+"${masks[@]}"} ${other_masks[@]+"${other_masks[@]}"})
    image='' mask=''
    for index in "${!all[@]}"; do
        case ${all[index]##*/} in image_"$1".np[yz]) image=${all[index]} mask=${all_masks[index]} ;; esac
    done
}

# Lets the rest of the script work on the volumes that did not match.
to_others() {
    images=(${other_images[@]+"${other_images[@]}"})
    masks=(${other_masks[@]+"${other_masks[@]}"})
}

# Runs the Python script $1 on images and masks, with what follows, the flags for all volumes and what is passed on.
# Volumes that failed make status 1; a mistake ends the script.
segment() {
    local script=$1 code=0 flag flags=()
    shift
    [ ${#images[@]} -gt 0 ] || return 0
    for flag in model precision device threads; do
        [ -z "${!flag}" ] || flags+=("--$flag" "${!flag}")
    done
    "$python" "$root/$script" --image_file_path "${images[@]}" --masks_file_path "${masks[@]}" \
        --results_folder_path "$results_folder_path" --use_bounding_box --resume "$@" ${flags[@]+"${flags[@]}"} \
        ${passed_on[@]+"${passed_on[@]}"} || code=$?
    [ "$code" -le 1 ] || exit "$code"
    [ "$code" = 0 ] || status=1
}

# Joins the results, unless that was done since the last of them, and ends the script.
join_and_end() {
    local newest
    newest=$(ls -t "$results_folder_path"/results_*.csv 2>/dev/null | head -n 1 || true)
    if [ -n "$newest" ] && [ -z "$(find "$results_folder_path" -mindepth 2 -name 'run_*.json' -newer "$newest")" ]; then
        echo "nothing new since $newest"
    elif [[ " ${passed_on[*]-} " != *" --dry_run "* && " ${passed_on[*]-} " != *" -n "* ]]; then
        "$python" "$root/join_results.py" --results_folder_path "$results_folder_path" || status=$?
    fi
    exit "$status"
}

# Runs the script $1 on all volumes of the working data, those in Hounsfield units in the lung window, and joins the
# results, which go to the folder $2 in that of the working data unless a flag says otherwise.
segment_covid() {
    results_folder_path=${results_folder_path:-$working_data_folder_path/$2}
    find_python
    find_pairs "$working_data_folder_path" "$windowed"

    segment "$1" --apply_windowing
    to_others
    segment "$1"
    join_and_end
}
