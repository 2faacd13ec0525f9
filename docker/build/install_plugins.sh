#!/usr/bin/env bash
# Install the Snakemake plugins of workflow/plugins, which need nothing that the lock lacks; there may be none.
set -euo pipefail
shopt -s nullglob
for project in /opt/heirloom/plugins/*/pyproject.toml; do
    pip install --no-deps "$(dirname "$project")"
done
rm -rf /opt/heirloom/plugins
pip check
