# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# A stand-in for Vivado and Vitis HLS that knows what is in table.tcl, keeps track of what exists, and stops at the
# first thing that does not. It proves spelling, values and order, not that the tools succeed.
#
# Usage: tclsh stubs.tcl TOOL SCRIPT SCENARIO [LOG]      in the folder where the tool would run
# TOOL: vitis_hls or vivado. SCENARIO: board, or what goes wrong: no_board, slow (timing is missed), broken (synthesis
# fails), csim (the test bench fails), offset, missing or extra (of a register). LOG: a file to which used commands and
# options are written.

set here [file dirname [file normalize [info script]]]
source [file join $here calls.tcl]
namespace eval ::stub [list source [file join $here table.tcl]]
source [file join $here packaged.tcl]
source [file join $here vitis_hls.tcl]
source [file join $here vivado.tcl]
source [file join $here block_design.tcl]

proc ::stub::define_commands {tool} {
  namespace eval ::ipx {}
  foreach name [names command $tool] {
    proc ::$name {args} [string map [list TOOL $tool NAME $name] {
      lassign [::stub::parse TOOL NAME $args] given objects
      return [::TOOL::NAME $given $objects]
    }]
  }
}

# Every script must be complete Tcl, also where no branch leads, and the XDC must hold no command at all.
proc ::stub::check_files {folder} {
  foreach file [glob -directory [file join $folder tcl] *.tcl] {
    need [info complete [contents $file]] "[file tail $file] has an open brace, bracket or quote"
  }
  foreach line [split [contents [file join $folder constraints m3vit.xdc]] \n] {
    need [regexp {^\s*(#.*)?$} $line] "m3vit.xdc holds a constraint that these stubs do not know: $line"
  }
}
proc ::stub::contents {file} {
  set channel [open $file]
  set text [read $channel]
  close $channel
  return $text
}

# What the tool must have left behind when its script ended well.
proc ::stub::check_products {tool folder} {
  set wanted(vitis_hls) {build/hls/solution1/impl/ip/component.xml}
  set wanted(vivado) {output/m3vit.bit output/m3vit.hwh output/timing.rpt output/utilization.rpt}
  foreach name $wanted($tool) {
    need [file isfile [file join $folder $name]] "the script ended without $name"
  }
}
proc ::stub::finish {code} {
  global state
  if {$code == 0 && [catch {check_products $state(tool) $state(folder)} message]} {
    puts stderr $message
    set code 1
  }
  ::stub::leave $code
}

# Scripts may end with exit, which is where the products are checked.
rename ::exit ::stub::leave
proc ::exit {{code 0}} {
  ::stub::finish $code
}
proc ::unknown {name args} {
  error "unknown command $name"
}

lassign $argv state(tool) state(script) state(scenario) state(log)
if {$state(scenario) ni {board no_board slow broken csim offset missing extra}} {
  error "unknown scenario $state(scenario)"
}
set state(folder) [file dirname [file dirname [file normalize $state(script)]]]
::stub::define_commands $state(tool)
if {[catch {::stub::check_files $state(folder); uplevel #0 [list source $state(script)]} message options]} {
  puts stderr "$message\n[dict get $options -errorinfo]"
  ::stub::leave 1
}
::stub::finish 0
