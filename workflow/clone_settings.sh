#!/usr/bin/env bash
# What a clone needs and git does not carry: the merge driver for dvc.lock and dvc.yaml, where `dvc push` goes, and
# where DVC keeps its state. Run by every make target that sets up, with the environment's Python, relative to the
# root; a remote that is already set is kept. git starts the driver at the top of its repository, which may be a folder
# above: so the paths are whole.
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
    if [ -f config/project.yaml ]; then # a project of one's own: Heirloom's page, known by its first line, is not merged into its own
        git config merge.project-readme.name "keep the project's own README.md"
        git config merge.project-readme.driver "head -n 1 %B | grep -qx '# Heirloom' || git merge-file --marker-size=%L %A %O %B"
    fi
fi

# The default remote is a folder of yours outside the clone; docs/storage.md shows the one edit to s3://…
if ! grep -qs "remote = " .dvc/config .dvc/config.local; then
    cat >>.dvc/config.local <<LOCAL
[core]
    remote = storage
['remote "storage"']
    url = ${XDG_DATA_HOME:-$HOME/.local/share}/heirloom/storage
    verify = true
LOCAL
fi

# DVC unpickles what it keeps there; its own choice, /var/tmp/dvc, is a folder that every user can write to.
case $PWD in
    *\"*) quote="'" ;;
    *) quote='"' ;; # for a comma or # in a name
esac
site="    site_cache_dir = $quote$PWD/.dvc/tmp/site$quote"
if ! grep -qs "site_cache_dir = " .dvc/config .dvc/config.local; then
    printf '[core]\n%s\n' "$site" >.dvc/config.local.partial
    if grep -qsx '\[core\]' .dvc/config.local; then
        SITE=$site awk '{ print } $0 == "[core]" { print ENVIRON["SITE"] }' .dvc/config.local >.dvc/config.local.partial
    elif [ -f .dvc/config.local ]; then
        cat .dvc/config.local >>.dvc/config.local.partial
    fi
    mv .dvc/config.local.partial .dvc/config.local
elif grep -qs "site_cache_dir = .*/\.dvc/tmp/site.\$" .dvc/config.local && ! grep -qsxF "$site" .dvc/config.local; then
    SITE=$site awk '/site_cache_dir = / { print ENVIRON["SITE"]; next } { print }' .dvc/config.local \
        >.dvc/config.local.partial # the clone was moved
    mv .dvc/config.local.partial .dvc/config.local
fi
