#!/usr/bin/env bash
# Fail before hours of compiling when nvcc does not know one of the GPUs in TORCH_CUDA_ARCH_LIST.
set -euo pipefail

if ! command -v nvcc >/dev/null; then
    echo "TORCH_BUILD=source: BUILD_IMAGE has no nvcc: give a -devel image of nvidia/cuda" >&2
    exit 1
fi
known=$(nvcc --list-gpu-arch)
for architecture in ${TORCH_CUDA_ARCH_LIST:?}; do
    name=compute_$(tr -d . <<<"${architecture%+PTX}")
    if ! grep -qx "$name" <<<"$known"; then
        release=$(nvcc --version | sed -nE 's/.*release ([0-9.]+).*/\1/p')
        echo "TORCH_CUDA_ARCH_LIST: nvcc of CUDA $release does not know $architecture (it knows $(xargs <<<"$known"));" \
            "Volta (7.0) needs CUDA 12.6: see docs/image.md for BASE_IMAGE and BUILD_IMAGE" >&2
        exit 1
    fi
done
