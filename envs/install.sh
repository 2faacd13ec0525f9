#!/usr/bin/env bash
# Install what a lock file pins into an environment: envs/install.sh ENVIRONMENT envs/NAME.txt [--no-bytecode]
#
# By uv, in a fraction of pip's time, and only files whose hash is in envs/hashes/. torch is left to pip, which
# finds the build that this machine has (a folder of wheels, an index of CPU builds) and brings what only that build
# needs; where its file is not the one that PyPI has, this is said. uv reads none of pip's settings, so it is told the
# index and the certificates that pip uses here. Bytecode is made here, once, as pip makes it: where none may be written
# later (in the image, under PYTHONDONTWRITEBYTECODE), each process would compile every library that it imports again.
# With --no-bytecode the first process that imports a module makes it: for an environment of which few start, and of
# whose libraries most are never imported. An environment that cannot share its versions with the others has hashes of
# its own, hashes/NAME.txt.
set -euo pipefail
python=$1/bin/python
lock=$2
folder=$(dirname "$lock")/hashes
hashes=$folder/$(basename "$lock")
[ -f "$hashes" ] || hashes=$folder/locked.txt
pip=("$python" -m pip --quiet --disable-pip-version-check)
pip_bytecode=() uv_bytecode=(--compile-bytecode)
[ "${3:-}" != --no-bytecode ] || { pip_bytecode=(--no-compile) uv_bytecode=(); }

# setting KEY: what pip's files and environment say of it, the environment last; with --quiet pip would list nothing
setting() {
    "$python" -m pip config list | sed -nE "s/^(global|install|:env:)\.$1='(.*)'$/\2/p" | tail -n 1
}

"${pip[@]}" install --no-deps --require-hashes --requirement "$folder/installer.txt"
if torch=$(grep '^torch==' "$lock"); then
    report=$(mktemp)
    "${pip[@]}" install "${pip_bytecode[@]}" --report "$report" --constraint "$lock" "$torch"
    # the hash of torch's file, where one was installed; a folder or a file of one's own may have none
    "$python" -c 'import json, sys
for made in json.load(open(sys.argv[1]))["install"]:
    if made["metadata"]["name"] == "torch":
        print(made["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256", "unknown"))' "$report" |
        while read -r digest; do
            awk '/^[^ ]/ { is = /^torch==/ } is' "$hashes" | grep -F "sha256:$digest" >/dev/null ||
                echo "install.sh: torch came from a file that PyPI does not have: its sha256 is $digest" >&2
        done
    rm -f "$report"
fi
index=$(setting index-url)
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
certificates=$(setting cert)
[ -z "$certificates" ] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates}
grep -v '^torch==' "$lock" | "$python" -m uv pip install --quiet --python "$python" --no-deps \
    "${uv_bytecode[@]}" --require-hashes --constraint "$hashes" --requirement -
