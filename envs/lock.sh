#!/usr/bin/env bash
# Pin everything that pyproject.toml needs, with all that it pulls in: envs/{workflow,training,development,harness}.txt.
# envs/audit.txt stands alone.
# What only the CUDA build of torch needs is left to torch's own metadata, which pins it exactly: so the same
# file installs the CPU build where only that is offered and the CUDA build elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

cuda=$(uv pip compile pyproject.toml --extra training --universal --python-version 3.11 --no-annotate --no-header -q |
    sed -nE 's/^((nvidia|cuda|triton)[a-z0-9-]*)==.*/--no-emit-package \1/p')

lock() {
    local output=$1
    shift
    # shellcheck disable=SC2086  # $cuda is a list of flags
    uv pip compile pyproject.toml "$@" --universal --python-version 3.11 --no-header --no-annotate $cuda -q |
        { echo "# Written by \`make lock\` from pyproject.toml."; cat; } >"$output"
}

lock envs/workflow.txt
lock envs/training.txt --extra training
lock envs/development.txt --extra training --group dev
lock envs/harness.txt --extra training --group harness
{
    echo "# Written by \`make lock\` from pyproject.toml."
    uv pip compile --group pyproject.toml:audit --universal --python-version 3.11 --no-header --no-annotate \
        --generate-hashes --quiet
} >envs/audit.txt
