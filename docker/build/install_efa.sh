#!/usr/bin/env bash
# Install what NCCL needs on p4 and p5 instances for EFA, the network between them: libfabric and the OFI plugin,
# which AWS's installer holds both. EFA_VERSION is the installer's version; empty: nothing is installed.
set -euo pipefail

[ -n "${EFA_VERSION:-}" ] || exit 0
folder=$(mktemp --directory)
archive=https://efa-installer.amazonaws.com/aws-efa-installer-$EFA_VERSION.tar.gz
curl --fail --silent --show-error --location "$archive" | tar --extract --gzip --directory "$folder"
cd "$folder/aws-efa-installer"
apt-get update
# No kernel module and no limits of a container's own: the host has them.
./efa_installer.sh --yes --skip-kmod --skip-limit-conf --no-verify
plugin=$(find /opt/amazon -name 'libnccl-net*.so' | head -1)
if [ -z "$plugin" ]; then
    echo "EFA_VERSION=$EFA_VERSION: this installer holds no NCCL plugin: take 1.50.0 or newer" >&2
    exit 1
fi
printf '%s\n' /opt/amazon/efa/lib "$(dirname "$plugin")" >/etc/ld.so.conf.d/efa.conf
ldconfig
rm -rf "$folder" /var/lib/apt/lists/*
