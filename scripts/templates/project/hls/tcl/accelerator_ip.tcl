# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# The accelerator's IP is made by hls.tcl, in another tool; here it must be there.

source [file join [file dirname [info script]] settings.tcl]

if {![file isfile [file join $ip_dir component.xml]]} {
  error "there is no IP in $ip_dir; run tcl/hls.tcl in Vitis HLS first, as build.sh does"
}
