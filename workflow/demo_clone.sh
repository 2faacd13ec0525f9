#!/usr/bin/env bash
# The demo in a project of one's own: a clone within the clone, in which the demo's runs are read and the project's are not.
# Neither's results get into the other's dvc.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$1
[ -e "$folder/.git" ] || git clone --quiet . "$folder"
git -C "$folder" fetch --quiet origin
git -C "$folder" checkout --quiet --force --detach origin/HEAD
rm -f "$folder"/config/project.yaml "$folder"/config/{datasets,models,runs}/*.yaml
"$folder/workflow/clone_settings.sh" "$2"
