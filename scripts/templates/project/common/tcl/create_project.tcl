# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Creates build/vivado, the project of the whole system. Needs accelerator_ip.tcl to have run. Commands: UG835.

source [file join [file dirname [info script]] settings.tcl]

create_project m3vit [file join $build_dir vivado] -part $part -force
set board [lindex [get_board_parts -quiet -latest_file_version $board_pattern] end]
if {$board ne ""} {
  set_property board_part $board [current_project]
} else {
  puts "WARNING: no board file matches $board_pattern; see 'Board files' in README.md"
}
set_property target_language Verilog [current_project]
set_property ip_repo_paths [list $ip_dir] [current_project]
update_ip_catalog -rebuild
add_files -norecurse -fileset constrs_1 [list [file join $root_dir constraints m3vit.xdc]]
