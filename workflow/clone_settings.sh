#!/usr/bin/env bash
# What a clone needs and git does not carry: the merge driver for dvc.lock and dvc.yaml, and where `dvc push` goes.
# Run by every make target that sets up, with the environment's Python, relative to the root; a remote that is already
# set is kept. git starts the driver at the top of its repository, which may be a folder above: so the paths are whole.
set -euo pipefail
cd "$(dirname "$0")/.."
case $1 in
    /*) python=$1 ;;
    *) python=$PWD/$1 ;;
esac

quoted() { # for the shell that git starts
    printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

if git rev-parse --git-dir >/dev/null 2>&1; then
    git config merge.dvc-stages.name "unite the stages of dvc.lock and dvc.yaml"
    git config merge.dvc-stages.driver "$(quoted "$python") $(quoted "$PWD/workflow/pipeline") merge %O %A %B"
fi

# The default remote is a folder of yours outside the clone; docs/storage.md shows the one edit to s3://…
if ! grep -qs "remote = " .dvc/config .dvc/config.local; then
    cat >>.dvc/config.local <<LOCAL
[core]
    remote = storage
['remote "storage"']
    url = ${XDG_DATA_HOME:-$HOME/.local/share}/heirloom/storage
LOCAL
fi
