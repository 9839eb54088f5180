# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Packages src/ as the accelerator's IP. Commands: UG835, ipx: UG1118.

source [file join [file dirname [info script]] settings.tcl]

create_project m3vit_ip [file join $build_dir ip_project] -part $part -force
set paths {}
foreach name $sources {
  lappend paths [file join $root_dir src $name]
}
add_files -norecurse -fileset sources_1 $paths
set_property top $ip_name [get_filesets sources_1]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $ip_dir -vendor m3vit -library accelerator -taxonomy /UserIP -import_files \
  -set_current true -force
set core [ipx::current_core]
set_property version 1.0 $core
set_property display_name "m3vit accelerator" $core
set_property description "INT8 Mixture-of-Experts Vision Transformer accelerator" $core
# The clock's real frequency comes from the PS, see src/m3vit_top.v.
set_property ipi_drc {ignore_freq_hz true} $core

# The attributes in m3vit_top.v must have become interfaces.
set wanted [list $clock_pin $reset_pin $interrupt_pin s_axi_ctrl]
for {set port 0} {$port < $ports} {incr port} {
  lappend wanted m_axi_hp$port
}
foreach name $wanted {
  if {[ipx::get_bus_interfaces $name -of_objects $core -quiet] eq ""} {
    error "the packaged IP has no interface $name; see the messages of ipx::package_project above"
  }
}

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity -quiet $core
ipx::save_core $core
close_project
