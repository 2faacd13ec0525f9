#!/usr/bin/env bash
# Install what a lock file pins into an environment: envs/install.sh ENVIRONMENT envs/NAME.txt
#
# By uv, in a fraction of pip's time. torch is left to pip, which finds the build that this machine has (a folder of
# wheels, an index of CPU builds) and brings what only that build needs. uv reads none of pip's settings, so it is told
# the index and the certificates that pip uses here.
set -euo pipefail
uv=uv==0.13.9
python=$1/bin/python
lock=$2
pip=("$python" -m pip --quiet --disable-pip-version-check)

# setting KEY: what pip's files and environment say of it, the environment last; with --quiet pip would list nothing
setting() {
    "$python" -m pip config list | sed -nE "s/^(global|install|:env:)\.$1='(.*)'$/\2/p" | tail -n 1
}

"${pip[@]}" install "$uv"
if torch=$(grep '^torch==' "$lock"); then
    "${pip[@]}" install --constraint "$lock" "$torch"
fi
index=$(setting index-url)
[ -z "$index" ] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
certificates=$(setting cert)
[ -z "$certificates" ] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates}
grep -v '^torch==' "$lock" | "$python" -m uv pip install --quiet --python "$python" --no-deps --requirement -
