#!/usr/bin/env bash
# Install what the base image lacks. Triton and DeepSpeed compile small programs at their first use: hence g++ and
# Python's headers. The packages stay in the build's cache, so that the second stage need not fetch them again.
set -euo pipefail

rm -f /etc/apt/apt.conf.d/docker-clean # it would empty the cache
apt-get update
DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
    ca-certificates curl g++ git libaio-dev python3-dev python3-venv
rm -rf /var/lib/apt/lists/*
