# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Compares the register offsets that Vitis HLS chose (x*_hw.h) with the register map of driver and documentation.

source [file join [file dirname [info script]] registers.tcl]

# Offsets in a driver's header by name: AP_CTRL, TASK_DATA, TASK_TABLE_BASE and so on. A port that is named like a word
# of Verilog or VHDL carries _R there. What belongs to the protocol of an output (NAME_CTRL) is left out.
proc offsets_in {header} {
  set channel [open $header]
  set text [read $channel]
  close $channel
  set found {}
  foreach {all name offset} [regexp -all -inline -line {^#define\s+X\w+_CTRL_ADDR_(\w+)\s+(0x[0-9a-fA-F]+)\s*$} $text] {
    if {$name eq "AP_CTRL" || ![string match *_CTRL $name]} {
      dict set found [regsub {_R(_DATA|_BASE|_HIGH)$} $name {\1}] [expr {$offset}]
    }
  }
  return $found
}

# Stops unless every register lies where the map says, all that must be there are, and there is no other.
proc check_registers {header} {
  global registers
  set found [offsets_in $header]
  foreach {name offset needed} $registers {
    if {![dict exists $found $name]} {
      if {$needed} {
        error "register $name is missing in the synthesised design, so the driver cannot work with it"
      }
      continue
    }
    set other [dict get $found $name]
    if {$other != $offset} {
      error [format "register %s lies at 0x%04x in the synthesised design, but the driver expects it at 0x%04x" $name $other $offset]
    }
    dict unset found $name
  }
  if {[dict size $found]} {
    error "the synthesised design has registers that the driver does not know: [dict keys $found]"
  }
}
