# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# C simulation of all golden vectors, C synthesis, the accelerator's IP, and a check of its registers:
# vitis-run --mode hls --tcl tcl/hls.tcl, in older versions vitis_hls -f tcl/hls.tcl. Commands: UG1399.

set tcl_dir [file dirname [file normalize [info script]]]
source [file join $tcl_dir settings.tcl]
source [file join $tcl_dir check_registers.tcl]

# Paths are relative to build/, so that a space in the folder's own path does no harm.
proc in_folder {folder names} {
  set paths {}
  foreach name $names {
    lappend paths ../$folder/$name
  }
  return $paths
}

proc make_ip {} {
  global build_dir clock_mhz ip_name part sources test_data
  file mkdir $build_dir
  cd $build_dir
  open_project -reset hls
  set_top $ip_name
  add_files -cflags -std=c++17 [in_folder src $sources]
  add_files -tb -cflags -std=c++17 ../test/m3vit_test.cpp
  # The test bench finds these files by name in the folder where it runs.
  add_files -tb [concat ../pathway/image.bin [in_folder test $test_data]]
  open_solution -reset -flow_target vivado solution1
  set_part $part
  create_clock -period ${clock_mhz}MHz -name default
  csim_design -O -clean
  csynth_design
  export_design -format ip_catalog -rtl verilog -vendor m3vit -library accelerator -version 1.0 \
    -display_name "m3vit accelerator" -description "INT8 Mixture-of-Experts Vision Transformer accelerator"
}

# The driver that Vitis HLS packs into the IP states the offset of every register.
proc check_ip {} {
  global ip_dir ip_name
  set headers [glob -nocomplain -directory $ip_dir drivers/*/src/x${ip_name}_hw.h]
  if {[llength $headers] != 1} {
    error "there is no driver in $ip_dir/drivers, so the register offsets cannot be checked"
  }
  check_registers [lindex $headers 0]
}

# Without exit the tool would stay open, and after an error it must say so to its caller.
if {[catch {make_ip; check_ip} message]} {
  puts stderr "ERROR: $message"
  exit 1
}
puts "The registers lie where the driver expects them."
exit 0
