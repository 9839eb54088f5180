# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Everything from the accelerator's IP to output/m3vit.bit and .hwh: vivado -mode batch -source tcl/build.tcl. Commands:
# UG835.

set tcl_dir [file dirname [file normalize [info script]]]
source [file join $tcl_dir accelerator_ip.tcl]
source [file join $tcl_dir create_project.tcl]
source [file join $tcl_dir block_design.tcl]

# Runs one step and stops with its log's place when it fails.
proc run_to_end {run arguments} {
  launch_runs $run {*}$arguments
  wait_on_run $run
  if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
    error "$run ended with '[get_property STATUS [get_runs $run]]'; see [get_property DIRECTORY [get_runs $run]]/runme.log"
  }
}

set_property strategy Performance_Explore [get_runs impl_1]
run_to_end synth_1 [list -jobs 4]
run_to_end impl_1 [list -to_step write_bitstream -jobs 4]

file mkdir $output_dir
open_run impl_1
report_utilization -hierarchical -file [file join $output_dir utilization.rpt]
report_timing_summary -file [file join $output_dir timing.rpt]
report_power -file [file join $output_dir power.rpt]

# PYNQ wants the bitstream and the hardware handoff under one name. Vivado 2020.2 moved the handoff from .srcs to .gen.
set run_dir [get_property DIRECTORY [get_runs impl_1]]
file copy -force [file join $run_dir ${system}_wrapper.bit] [file join $output_dir m3vit.bit]
set handoff [glob -directory [file join $build_dir vivado] -types f \
  m3vit.{gen,srcs}/sources_1/bd/$system/hw_handoff/$system.hwh]
file copy -force [lindex $handoff 0] [file join $output_dir m3vit.hwh]

set slack [get_property STATS.WNS [get_runs impl_1]]
if {$slack < 0} {
  puts "CRITICAL WARNING: timing is not met at $clock_mhz MHz (worst slack $slack ns); lower clock_mhz in tcl/settings.tcl"
} else {
  puts "Timing is met at $clock_mhz MHz (worst slack $slack ns)."
}
