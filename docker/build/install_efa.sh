#!/usr/bin/env bash
# Install what NCCL needs on p4 and p5 instances for EFA, the network between them: libfabric and the OFI plugin,
# which AWS's installer holds both. EFA_VERSION is the installer's version; empty: nothing is installed, and neither in
# a base without CUDA. The installer runs as root, so it must be the one that EFA_SHA256 says, or, without that, be
# signed with the key whose fingerprint AWS documents (EC2 user guide, "Get started with EFA and NCCL").
set -euo pipefail
KEY=4E9091BCBB97A96B26B15E59A05480B1DD2D3CCC

[ -n "${EFA_VERSION:-}" ] || exit 0
if [ -n "${EFA_SHA256:-}" ] && ! [[ "$EFA_SHA256" =~ ^[0-9a-f]{64}$ ]]; then
    echo "EFA_SHA256=$EFA_SHA256 is no SHA-256: expected the 64 digits that sha256sum prints for the archive" >&2
    exit 1
fi
# The plugin opens libcudart.so, which images for running have under its versioned name alone; without it NCCL takes
# TCP and says nothing.
runtime=$(find -L /usr/local -path '/usr/local/cuda*' -name 'libcudart.so.*' 2>/dev/null | sort | head -1)
if [ -z "$runtime" ]; then
    echo "no CUDA runtime in the base image: no EFA"
    exit 0
fi

site=https://efa-installer.amazonaws.com
archive=$site/aws-efa-installer-$EFA_VERSION.tar.gz
folder=$(mktemp --directory)
trap 'rm -rf "$folder"' EXIT
fetch() { curl --fail --silent --show-error --location --output "$folder/$1" "$2"; }
fetch archive "$archive" || {
    echo "$archive could not be fetched; --build-arg EFA_VERSION= makes an image without EFA" >&2
    exit 1
}
if [ -n "${EFA_SHA256:-}" ]; then
    if ! echo "$EFA_SHA256  $folder/archive" | sha256sum --check --status; then
        echo "$archive is not what EFA_SHA256 says: its hash is $(sha256sum "$folder/archive" | cut -c1-64)" >&2
        exit 1
    fi
else
    fetch key "$site/aws-efa-installer.key"
    fetch signature "$archive.sig"
    command -v gpg >/dev/null || { apt-get update && apt-get install --yes --no-install-recommends gpg; } >&2
    mkdir --mode 700 "$folder/gpg"
    gpg --homedir "$folder/gpg" --batch --quiet --import "$folder/key" || true
    said=$(gpg --homedir "$folder/gpg" --batch --status-fd 1 --verify "$folder/signature" "$folder/archive" 2>/dev/null || true)
    if ! grep -q "^\[GNUPG:\] VALIDSIG .*$KEY\$" <<<"$said"; then
        echo "$archive is not signed with AWS's key $KEY: do not run it; tell AWS" >&2
        exit 1
    fi
fi

tar --extract --gzip --directory "$folder" --file "$folder/archive"
cd "$folder/aws-efa-installer"
apt-get update
# No kernel module and no limits of a container's own: the host has them. From 1.48 on the installer leaves the plugin
# out where it takes the base for one of NVIDIA's NGC images, as it does every nvidia/cuda:*-runtime.
options=(--yes --skip-kmod --skip-limit-conf --no-verify)
if [ "$(printf '%s\n' 1.48.0 "$EFA_VERSION" | sort --version-sort | head -1)" = 1.48.0 ]; then
    options+=(--disable-ngc)
fi
./efa_installer.sh "${options[@]}"
plugin=$(find /opt/amazon \( -name 'libnccl-net.so' -o -name 'libnccl-net-*ofi.so' \) | sort | head -1)
if [ -z "$plugin" ]; then
    echo "EFA_VERSION=$EFA_VERSION: this installer has left no NCCL plugin below /opt/amazon: docs/image.md names" \
        "versions that do" >&2
    exit 1
fi
ln -sf "$(basename "$runtime")" "$(dirname "$runtime")/libcudart.so"
printf '%s\n' /opt/amazon/efa/lib "$(dirname "$plugin")" "$(dirname "$runtime")" >/etc/ld.so.conf.d/efa.conf
ldconfig
known=$(ldconfig -p)
for library in "$(basename "$plugin")" libcudart.so; do
    if ! grep -q "^[[:space:]]$library " <<<"$known"; then
        echo "EFA_VERSION=$EFA_VERSION: $library is installed and the loader does not find it" >&2
        exit 1
    fi
done
cd /
rm -rf /var/lib/apt/lists/*
