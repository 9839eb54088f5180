# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Packaged IPs. The stand-in for component.xml holds the name, the pins and the interfaces as Tcl lists.

namespace eval ::stub {
  # What the IP packager reads from the attributes of a Verilog shell (UG994): pins and interfaces.
  proc read_shell {file} {
    set text [contents $file]
    set pins {}
    set intfs {}
    set pattern {X_INTERFACE_INFO = "(\S+) (\w+) (\w+)" \*\)\s+(input|output) wire (?:\[\d+:0\] )?(\w+)}
    foreach {all type bus signal direction port} [regexp -all -inline $pattern $text] {
      if {[string match *:aximm:* $type]} {
        if {$signal eq "ARVALID"} {
          set mode [expr {$direction eq "output" ? "master" : "slave"}]
          dict set intfs $bus [list $mode aclk [expr {$mode eq "slave" ? "reg0" : ""}]]
        }
      } else {
        dict set pins $port [expr {$direction eq "output" ? "out" : "in"}]
      }
    }
    set ports [regexp -all {\n\s+(?:input|output) wire } $text]
    set described [regexp -all {X_INTERFACE_INFO = } $text]
    need [expr {$ports == $described}] "$file declares $ports ports but describes $described by X_INTERFACE_INFO"
    need [regexp {ASSOCIATED_BUSIF ([\w:]+), ASSOCIATED_RESET (\w+)"} $text all buses reset] \
      "$file does not associate its AXI interfaces with a clock and a reset"
    need [expr {[lsort [split $buses :]] eq [lsort [dict keys $intfs]]}] \
      "$file associates the interfaces $buses with its clock, but has [dict keys $intfs]"
    return [list $pins $intfs]
  }

  proc write_component {folder vlnv pins intfs} {
    file mkdir $folder
    set channel [open [file join $folder component.xml] w]
    puts $channel [list $vlnv $pins $intfs]
    close $channel
  }

  # Adds the IP of a folder to what cells can be made of; returns its name, or nothing if there is none.
  proc read_component {folder} {
    set file [file join $folder component.xml]
    if {![file isfile $file]} {
      return ""
    }
    lassign [contents $file] vlnv pins intfs
    dict for {name direction} $pins {
      pin $vlnv $name {UG1118 - memory} $direction {}
    }
    dict for {name entry} $intfs {
      lassign $entry mode clock segments
      intf $vlnv $name {UG1118 - memory} $mode $clock {} $segments
    }
    return $vlnv
  }
}
