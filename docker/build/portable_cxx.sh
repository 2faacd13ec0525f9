#!/usr/bin/env bash
# g++ for any x86-64 processor with AVX2 (every one that has had GPUs beside it since 2015) instead of this one.
set -euo pipefail
arguments=()
for argument in "$@"; do
    if [ "$(uname -m)" = x86_64 ]; then
        argument=${argument/#-march=native/-march=x86-64-v3}
        argument=${argument/#-D__AVX512__/-D__AVX256__}
    fi
    arguments+=("$argument")
done
exec g++ "${arguments[@]}"
