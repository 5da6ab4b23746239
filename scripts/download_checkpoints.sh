#!/usr/bin/env bash
# The same as download_model_checkpoints.sh, under the name that the paper's code uses.
exec bash "$(dirname "${BASH_SOURCE[0]}")/download_model_checkpoints.sh" "$@"
