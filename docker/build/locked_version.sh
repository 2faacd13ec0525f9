#!/usr/bin/env bash
# Print the version of a package that envs/training.txt locks: locked_version.sh PACKAGE
set -euo pipefail
lock=$(dirname "$0")/../envs/training.txt
version=$(sed -nE "s/^$1==([^ ;]+).*/\1/p" "$lock")
[ -n "$version" ] || { echo "$lock: no version of $1" >&2; exit 1; }
echo "$version"
