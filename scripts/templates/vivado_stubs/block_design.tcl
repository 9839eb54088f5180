# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Actions of the block design and of the runs; see vivado.tcl.

namespace eval ::vivado {
  # --- cells and pins ---------------------------------------------------------------------------------------------
  proc create_bd_design {given objects} {
    global state
    current_project {} {}
    set state(design) [lindex $objects 0]
    set state(file,$state(design).bd) $state(design).bd
    set state(valid) 0
  }
  proc create_bd_cell {given objects} {
    global state
    need [info exists state(design)] "create_bd_cell: no block design is open"
    need [expr {[option $given -type ip] eq "ip"}] "create_bd_cell: these stubs know IP cells only"
    set vlnv [option $given -vlnv]
    need [expr {[names pin $vlnv] ne ""}] "create_bd_cell: the catalog has no $vlnv"
    need [expr {[string match xilinx.com:* $vlnv] || $vlnv in $state(catalog)}] \
      "create_bd_cell: $vlnv is not in the catalog"
    need [expr {![info exists state(cell,$objects)]}] "create_bd_cell: there is a cell $objects already"
    set state(cell,$objects) $vlnv
    set state(valid) 0
    return cell:$objects
  }
  proc apply_bd_automation {given objects} {
    set cell [named cell [lindex $objects 0]]
    need [expr {[option $given -rule] eq "xilinx.com:bd_rule:zynq_ultra_ps_e"}] "apply_bd_automation: no such rule"
    foreach {name value} [option $given -config] {
      need [expr {$name eq "apply_board_preset"}] "apply_bd_automation: no such setting $name"
    }
  }
  # Whether the configuration of a cell makes a pin appear: {} always, {P} if P is not 0, {P n} if P is at least n.
  proc appears {cell condition} {
    lassign $condition name least
    return [expr {$name eq "" || [get_property {} [list $name cell:$cell]] >= ($least eq "" ? 1 : $least)}]
  }
  # The pin or interface of a cell, by path; rows holds pin or intf.
  proc find_pin {row path given} {
    global state
    lassign [split [string trimleft $path /] /] cell name
    need [info exists state(cell,$cell)] "there is no cell $cell"
    set key "$state(cell,$cell) $name"
    set found [known $row $key]
    if {$found} {
      set found [appears $cell [lindex [entry $row $key] [expr {$row eq "pin" ? 1 : 2}]]]
    }
    set what [expr {$row eq "pin" ? "pin" : "interface"}]
    need [expr {$found || [dict exists $given -quiet]}] "cell $cell has no $what $name"
    return [expr {$found ? "$row:$cell/$name" : ""}]
  }
  proc get_bd_pins {given objects} {
    return [find_pin pin [lindex $objects 0] $given]
  }
  proc get_bd_intf_pins {given objects} {
    return [find_pin intf [lindex $objects 0] $given]
  }
  proc entry_of {row object} {
    global state
    lassign [split [named $row $object] /] cell name
    return [entry $row "$state(cell,$cell) $name"]
  }

  # --- connections ------------------------------------------------------------------------------------------------
  proc connect_bd_net {given objects} {
    global state
    set drivers {}
    foreach pin $objects {
      if {[lindex [entry_of pin $pin] 0] eq "out"} {
        lappend drivers $pin
      }
    }
    need [expr {[llength $drivers] == 1}] "connect_bd_net: [llength $drivers] drivers among $objects"
    foreach pin $objects {
      if {$pin ne $drivers} {
        need [expr {![info exists state(driver,$pin)]}] "connect_bd_net: $pin is connected already"
        set state(driver,$pin) $drivers
      }
    }
    set state(valid) 0
  }
  proc connect_bd_intf_net {given objects} {
    global state
    lassign $objects master slave
    need [expr {[lindex [entry_of intf $master] 0] eq "master"}] "connect_bd_intf_net: $master is no master"
    need [expr {[lindex [entry_of intf $slave] 0] eq "slave"}] "connect_bd_intf_net: $slave is no slave"
    foreach pin $objects {
      need [expr {![info exists state(peer,$pin)]}] "connect_bd_intf_net: $pin is connected already"
    }
    set state(peer,$master) $slave
    set state(peer,$slave) $master
    set state(valid) 0
  }

  # --- addresses --------------------------------------------------------------------------------------------------
  proc get_bd_addr_spaces {given objects} {
    set intf [option $given -of_objects]
    need [expr {[lindex [entry_of intf $intf] 0] eq "master"}] "get_bd_addr_spaces: $intf is no master"
    return space:[named intf $intf]
  }
  proc get_bd_addr_segs {given objects} {
    set intf [option $given -of_objects]
    set segments [lindex [entry_of intf $intf] 3]
    if {[dict exists $given -filter]} {
      need [regexp {^NAME =~ (\S+)$} [dict get $given -filter] all pattern] "get_bd_addr_segs: cannot read the filter"
      set segments [lsearch -all -inline $segments $pattern]
    }
    need [expr {$segments ne ""}] "get_bd_addr_segs: $intf has no such segment"
    return [lmap segment $segments {string cat segment:[named intf $intf]/ $segment}]
  }
  # The slave behind a master, through SmartConnects.
  proc reached {master} {
    global state
    while {[info exists state(peer,$master)]} {
      set slave $state(peer,$master)
      set cell [lindex [split [named intf $slave] /] 0]
      if {$state(cell,$cell) ne "xilinx.com:ip:smartconnect"} {
        return [named intf $slave]
      }
      set master intf:$cell/M00_AXI
    }
    return ""
  }
  proc assign_bd_address {given objects} {
    global state
    set space [named space [option $given -target_address_space]]
    foreach object [lindex $objects 0] {
      set segment [named segment $object]
      need [expr {[file dirname $segment] eq [reached intf:$space]}] "assign_bd_address: $space does not reach $segment"
      lappend state(mapped,$space) $segment
    }
    set state(valid) 0
  }

  proc validate_bd_design {given objects} {
    global state
    foreach key [array names state cell,*] {
      set cell [string range $key 5 end]
      foreach name [names pin $state($key)] {
        lassign [entry pin "$state($key) $name"] direction condition
        if {$direction eq "in" && [appears $cell $condition]} {
          need [info exists state(driver,pin:$cell/$name)] "validate_bd_design: $cell/$name is not connected"
        }
      }
      foreach name [names intf $state($key)] {
        lassign [entry intf "$state($key) $name"] mode clock condition
        if {[appears $cell $condition]} {
          need [info exists state(peer,intf:$cell/$name)] "validate_bd_design: $cell/$name is not connected"
          set hop [expr {$state($key) eq "xilinx.com:ip:smartconnect"}]
          set mapped [expr {$hop || $mode eq "slave" || [info exists state(mapped,$cell/$name)]}]
          need $mapped "validate_bd_design: $cell/$name has no address"
        }
      }
    }
    set state(valid) 1
  }
  proc save_bd_design {given objects} {
    global state
    need [info exists state(design)] "save_bd_design: no block design is open"
  }
  proc make_wrapper {given objects} {
    global state
    set design [file rootname [named file [lindex $objects 0]]]
    need $state(valid) "make_wrapper: $design has not been validated since its last change"
    need [dict exists $given -top] "make_wrapper without -top makes no top module"
    need [dict exists $given -import] "make_wrapper without -import leaves the wrapper out of the project"
    set state(file,${design}_wrapper.v) ${design}_wrapper.v
    set folder [file join $state(dir) $state(project).gen sources_1 bd $design hw_handoff]
    file mkdir $folder
    close [open [file join $folder $design.hwh] w]
  }

  # --- runs -------------------------------------------------------------------------------------------------------
  proc get_runs {given objects} {
    need [expr {$objects in {synth_1 impl_1}}] "get_runs: no such run $objects"
    return run:$objects
  }
  proc launch_runs {given objects} {
    global state
    set run [string map {run: {}} [lindex $objects 0]]
    get_runs {} $run
    need [info exists state(property,fileset:sources_1,top)] "launch_runs: no top is set"
    need [expr {$run eq "synth_1" || [info exists state(ended,synth_1)]}] "launch_runs: synth_1 has not run"
    set state(launched,$run) [expr {[dict exists $given -to_step] ? [dict get $given -to_step] : "all"}]
  }
  proc wait_on_run {given objects} {
    global state
    set run [string map {run: {}} [lindex $objects 0]]
    need [info exists state(launched,$run)] "wait_on_run: $run has not been launched"
    set broken [expr {$state(scenario) eq "broken"}]
    set folder [file join $state(dir) $state(project).runs $run]
    file mkdir $folder
    set state(property,run:$run,PROGRESS) [expr {$broken ? "40%" : "100%"}]
    set state(property,run:$run,STATUS) [expr {$broken ? "synth_design ERROR" : "Complete!"}]
    set state(property,run:$run,DIRECTORY) $folder
    set state(property,run:$run,STATS.WNS) [expr {$state(scenario) eq "slow" ? -0.123 : 0.045}]
    set state(ended,$run) 1
    if {$state(launched,$run) eq "write_bitstream"} {
      close [open [file join $folder $state(property,fileset:sources_1,top).bit] w]
    }
  }
  proc open_run {given objects} {
    global state
    need [info exists state(ended,[lindex $objects 0])] "open_run: $objects has not run"
    set state(open) 1
  }
  proc report_to_file {name given} {
    global state
    need [info exists state(open)] "$name: no run is open"
    close [open [dict get $given -file] w]
  }
  proc report_utilization {given objects} {
    report_to_file report_utilization $given
  }
  proc report_timing_summary {given objects} {
    report_to_file report_timing_summary $given
  }
  proc report_power {given objects} {
    report_to_file report_power $given
  }
}
