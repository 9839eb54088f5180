#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Builds output/m3vit.bit and output/m3vit.hwh. Needs Vivado on PATH.
set -eu
cd "$(dirname "$0")"
if ! command -v vivado >/dev/null; then
  echo "build.sh: vivado is not on PATH; source settings64.sh of your Vivado installation first" >&2
  exit 2
fi
mkdir -p build
vivado -mode batch -source tcl/build.tcl -log build/vivado.log -journal build/vivado.jou
