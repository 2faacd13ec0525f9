#!/usr/bin/env bash
# Compile torch into /wheels when TORCH_BUILD=source asks for it; TORCH_BUILD=wheel leaves it to pip.
# TORCH_CUDA_ARCH_LIST says for which GPUs, MAX_JOBS how many compilers run at once (each takes up to 4 GB).
set -euo pipefail
here=$(dirname "$0")

case ${TORCH_BUILD:?} in
wheel) exit 0 ;;
source) ;;
*)
    echo "TORCH_BUILD=$TORCH_BUILD: expected wheel or source" >&2
    exit 1
    ;;
esac

"$here/check_cuda_architectures.sh"
version=$("$here/locked_version.sh" torch)
git clone --quiet --depth 1 --branch "v$version" --recurse-submodules --shallow-submodules \
    https://github.com/pytorch/pytorch /tmp/pytorch
cd /tmp/pytorch
pip install --quiet --requirement requirements.txt ninja
# Compiled torch names no Triton among its requirements, so its own pin is kept beside the wheel.
echo "triton==$(cat .ci/docker/triton_version.txt)" >/wheels/triton.txt
export TORCH_CUDA_ARCH_LIST PYTORCH_BUILD_VERSION=$version PYTORCH_BUILD_NUMBER=1 BUILD_TEST=0
[ -z "${MAX_JOBS:-}" ] || export MAX_JOBS
pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .
rm -rf /tmp/pytorch
