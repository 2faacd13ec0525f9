#!/usr/bin/env bash
# Install what a lock file pins into an environment: envs/install.sh ENVIRONMENT envs/NAME.txt
#
# By uv, in a fraction of pip's time. torch is left to pip, which finds the build that this machine has (a folder of
# wheels, an index of CPU builds) and brings what only that build needs. uv reads none of pip's settings, so it is told
# the index that pip uses here.
set -euo pipefail
python=$1/bin/python
lock=$2
pip=("$python" -m pip --quiet --disable-pip-version-check)

"${pip[@]}" install "$(grep '^uv==' "$(dirname "$0")/development.txt")"
if torch=$(grep '^torch==' "$lock"); then
    "${pip[@]}" install --constraint "$lock" "$torch"
fi
index=$("${pip[@]}" config list | sed -nE "s/^(global|install|:env:)\.index-url='(.*)'$/\2/p" | tail -n 1)
if [ -n "$index" ]; then
    export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
fi
grep -v '^torch==' "$lock" | "$python" -m uv pip install --quiet --python "$python" --no-deps --requirement -
