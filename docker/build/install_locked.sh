#!/usr/bin/env bash
# Install everything else that envs/training.txt locks, on top of torch, and check that it fits together.
set -euo pipefail
here=$(dirname "$0")
shopt -s nullglob

torch=$(pip show torch | sed -n 's/^Version: //p')
compiled=(/wheels/deepspeed-*.whl)
[ ${#compiled[@]} -eq 0 ] || pip install --no-deps "${compiled[@]}"
"$here/../envs/install.sh" /opt/venv "$here/../envs/training.txt"
pip uninstall --yes --quiet uv # it has done its work
pip check
if [ "$(pip show torch | sed -n 's/^Version: //p')" != "$torch" ]; then
    echo "torch $torch was replaced: envs/training.txt locks another version" >&2
    exit 1
fi
