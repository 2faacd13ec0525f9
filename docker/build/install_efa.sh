#!/usr/bin/env bash
# Install what NCCL needs on p4 and p5 instances for EFA, the network between them: libfabric and the OFI plugin,
# which AWS's installer holds both. EFA_VERSION is the installer's version; empty: nothing is installed. The installer
# runs as root, so it must be the one that EFA_SHA256 says.
set -euo pipefail

[ -n "${EFA_VERSION:-}" ] || exit 0
archive=https://efa-installer.amazonaws.com/aws-efa-installer-$EFA_VERSION.tar.gz
if ! [[ "${EFA_SHA256:-}" =~ ^[0-9a-f]{64}$ ]]; then
    echo "EFA_VERSION=$EFA_VERSION needs EFA_SHA256, the hash of $archive: fetch it, check AWS's signature of it, and give" \
        "what sha256sum prints (docs/image.md)" >&2
    exit 1
fi
folder=$(mktemp --directory)
curl --fail --silent --show-error --location --output "$folder/archive" "$archive"
if ! echo "$EFA_SHA256  $folder/archive" | sha256sum --check --status; then
    echo "$archive is not what EFA_SHA256 says: its hash is $(sha256sum "$folder/archive" | cut -c1-64)" >&2
    exit 1
fi
tar --extract --gzip --directory "$folder" --file "$folder/archive"
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
