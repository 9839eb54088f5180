# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# A stand-in for Vivado that knows the commands, options, properties and pins in commands.tcl and ips.tcl, keeps track of
# what exists, and stops at the first thing that does not. It proves spelling and order, not that Vivado succeeds.
#
# Usage: tclsh stubs.tcl FOLDER SCENARIO   (scenario: board, no_board, slow, broken)
# Objects are the strings class:name.

set here [file dirname [file normalize [info script]]]
source [file join $here commands.tcl]
source [file join $here ips.tcl]
source [file join $here actions.tcl]
source [file join $here block_design.tcl]

# Options and objects of a call, checked against the table.
proc parse_call {name arguments} {
  global table
  lassign $table($name) options limits
  set given {}
  set objects {}
  while {[llength $arguments]} {
    set arguments [lassign $arguments word]
    if {[regexp {^-[a-z]} $word]} {
      if {$word in {-quiet -verbose}} {
        dict set given $word 1
      } elseif {![dict exists $options $word]} {
        error "$name has no option $word"
      } elseif {[dict get $options $word]} {
        if {![llength $arguments]} {
          error "$name $word needs a value"
        }
        set arguments [lassign $arguments value]
        dict set given $word $value
      } else {
        dict set given $word 1
      }
    } else {
      lappend objects $word
    }
  }
  lassign $limits least most
  if {[llength $objects] < $least || [llength $objects] > $most} {
    error "$name takes $least to $most objects, not [llength $objects]: $objects"
  }
  return [list $given $objects]
}

proc define_commands {} {
  global commands table
  namespace eval ::ipx {}
  foreach {name options limits} $commands {
    set table($name) [list $options $limits]
    proc ::$name {args} [string map [list NAME $name] {
      lassign [parse_call NAME $args] given objects
      return [::act::NAME $given $objects]
    }]
  }
}

# Every file must be complete Tcl, also where no branch leads.
proc check_complete {file} {
  set channel [open $file]
  set text [read $channel]
  close $channel
  if {![info complete $text]} {
    error "[file tail $file] has an open brace, bracket or quote"
  }
}

proc unknown {name args} {
  error "unknown command $name"
}

proc check_folder {folder} {
  global state
  foreach file [glob -directory [file join $folder tcl] *.tcl] {
    check_complete $file
  }
  uplevel #0 [list source [file join $folder tcl build.tcl]]
  if {$state(scenario) ne "broken"} {
    foreach name {m3vit.bit m3vit.hwh timing.rpt utilization.rpt} {
      if {![file isfile [file join $folder output $name]]} {
        error "build.tcl ended without output/$name"
      }
    }
  }
  set channel [open [file join $folder constraints m3vit.xdc]]
  foreach line [split [read $channel] \n] {
    if {[string trim $line] ne "" && ![string match #* $line]} {
      error "m3vit.xdc holds a constraint that these stubs do not know: $line"
    }
  }
  close $channel
}

define_commands
lassign $argv state(folder) state(scenario)
if {$state(scenario) ni {board no_board slow broken}} {
  error "unknown scenario $state(scenario)"
}
if {[catch {check_folder $state(folder)} message options]} {
  puts stderr "$message\n[dict get $options -errorinfo]"
  exit 1
}
puts "stubs: $state(scenario) ok"
exit 0
