#!/usr/bin/env bash
# Install torch and what it needs: the wheel that was compiled, or a published one; TORCH_VARIANT (cpu, cu126) chooses
# among those.
set -euo pipefail
here=$(dirname "$0")
shopt -s nullglob

compiled=(/wheels/torch-*.whl)
if [ ${#compiled[@]} -gt 0 ]; then
    pip install --requirement /wheels/triton.txt "${compiled[@]}"
    exit 0
fi
lock=$here/../envs/training.txt
requirement=torch==$("$here/locked_version.sh" torch)
if [ -z "${TORCH_VARIANT:-}" ]; then
    pip install --constraint "$lock" "$requirement"
else
    pip install --constraint "$lock" "$requirement+$TORCH_VARIANT" ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}
fi
