#!/usr/bin/env bash
# Compile DeepSpeed with its ops into /wheels where nvcc is there; elsewhere pip makes it without ops.
#
# The image has no nvcc, so an op that is missing from the wheel cannot be compiled later. TORCH_CUDA_ARCH_LIST says
# for which GPUs.
set -euo pipefail
here=$(dirname "$0")

if ! command -v nvcc >/dev/null; then
    echo "no nvcc: DeepSpeed without ops"
    exit 0
fi
"$here/install_torch.sh"
# what DeepSpeed's setup.py imports
pip install --quiet --constraint "$here/../envs/training.txt" \
    setuptools wheel ninja packaging py-cpuinfo psutil pydantic numpy einops hjson msgpack tqdm

# CUDA 13 knows no Volta, whatever torch was compiled for.
known=$(nvcc --list-gpu-arch)
architectures=""
for architecture in ${TORCH_CUDA_ARCH_LIST:?}; do
    if grep -qx "compute_$(tr -d . <<<"${architecture%+PTX}")" <<<"$known"; then
        architectures+="${architectures:+;}$architecture"
    else
        echo "DeepSpeed's ops: nvcc does not know $architecture: left out"
    fi
done
export TORCH_CUDA_ARCH_LIST=$architectures
[ -z "${MAX_JOBS:-}" ] || export MAX_JOBS
# A build has no GPU, without which DeepSpeed would take its ops for CPUs.
export DS_ACCELERATOR=cuda
# DeepSpeed compiles for the processor at hand; the image must run on others too.
export CXX=$here/portable_cxx.sh
export DS_BUILD_FUSED_ADAM=1 DS_BUILD_CPU_ADAM=1 DS_BUILD_AIO=1
pip wheel --no-deps --no-build-isolation --no-binary deepspeed --wheel-dir /wheels \
    "deepspeed==$("$here/locked_version.sh" deepspeed)"
