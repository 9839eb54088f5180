# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# What each command of Vitis HLS does to the stand-in's state, in the order of a build. The register offsets that C
# synthesis would choose are read from the INTERFACE pragmas of the top function; without an offset there, and for what
# only a compiler knows, the stand-in stops.

namespace eval ::vitis_hls {
  namespace path ::stub

  # --- project ----------------------------------------------------------------------------------------------------
  proc open_project {given objects} {
    global state
    need [dict exists $given -reset] "open_project without -reset keeps the files of an older build"
    set state(hls) [file normalize $objects]
    array unset state solution
    array set state {sources {} benches {}}
    file mkdir $state(hls)
  }
  proc set_top {given objects} {
    global state
    need [info exists state(hls)] "set_top: no project is open"
    set state(top) $objects
  }
  # Headers must lie where the including file says; no -I is passed on.
  proc add_files {given objects} {
    global state
    need [info exists state(hls)] "add_files: no project is open"
    foreach file [lindex $objects 0] {
      need [file isfile $file] "add_files: there is no file $file"
      lappend state([expr {[dict exists $given -tb] ? "benches" : "sources"}]) $file
      if {[file extension $file] eq ".cpp"} {
        need [regexp {^-std=c\+\+(14|17)$} [option $given -cflags]] "add_files: $file needs -cflags -std=c++17"
        check_includes $file
      }
    }
  }
  proc check_includes {file} {
    foreach {all name} [regexp -all -inline -line {^\s*#\s*include\s+"([^"]+)"} [contents $file]] {
      set header [file join [file dirname $file] $name]
      if {[file isfile $header]} {
        check_includes $header
      } else {
        need [known header "vitis_hls $name"] "[file tail $file] includes $name, which is not there"
      }
    }
  }

  # --- solution ---------------------------------------------------------------------------------------------------
  proc open_solution {given objects} {
    global state
    need [info exists state(hls)] "open_solution: no project is open"
    need [dict exists $given -reset] "open_solution without -reset keeps the results of an older build"
    need [expr {[option $given -flow_target vivado] eq "vivado"}] "open_solution: Vivado needs -flow_target vivado"
    set state(solution) [file join $state(hls) $objects]
    array set state {part "" clock "" simulated 0 synthesised 0}
    file mkdir $state(solution)
  }
  proc need_solution {name} {
    global state
    need [info exists state(solution)] "$name: no solution is open"
  }
  proc set_part {given objects} {
    global state
    need_solution set_part
    need [regexp {^xc[a-z0-9]+-[a-z0-9]+-\d-[a-z]$} $objects] "set_part: no such part $objects"
    set state(part) $objects
  }
  proc create_clock {given objects} {
    global state
    need_solution create_clock
    need [regexp {^[0-9.]+(ns|MHz)?$} [option $given -period 10]] "create_clock: no such period [option $given -period]"
    set state(clock) [option $given -period 10]
  }
  proc csim_design {given objects} {
    global state
    need_solution csim_design
    set mains [lmap file $state(benches) {regexp {\mint main\(} [contents $file]}]
    need [expr {1 in $mains}] "csim_design: no test bench has a main function"
    need [expr {$state(scenario) ne "csim"}] "csim_design: the test bench returned 1"
    set state(simulated) 1
  }
  proc csynth_design {given objects} {
    global state
    need_solution csynth_design
    need [info exists state(top)] "csynth_design: no top function is set"
    need [expr {$state(part) ne "" && $state(clock) ne ""}] "csynth_design: no part or no clock is set"
    need $state(simulated) "csynth_design comes before the C simulation"
    set state(interfaces) [interfaces [top_source]]
    set state(synthesised) 1
  }
  proc top_source {} {
    global state
    foreach file $state(sources) {
      if {[regexp "\\mvoid\\s+$state(top)\\s*\\(" [contents $file]]} {
        return $file
      }
    }
    error "csynth_design: no source file defines the top function $state(top)"
  }

  # --- interfaces -------------------------------------------------------------------------------------------------
  # Text of a file with that of the .inc files which it includes.
  proc with_parts {file} {
    set text [contents $file]
    foreach {all name} [regexp -all -inline -line {^\s*#\s*include\s+"([^"]+\.inc)"} $text] {
      append text \n [with_parts [file join [file dirname $file] $name]]
    }
    return $text
  }
  # List of mode, port and options of the INTERFACE pragmas of a file.
  proc interfaces {file} {
    set found {}
    set pattern {^#pragma HLS INTERFACE (?:mode\s*=\s*)?(s_axilite|m_axi) (.*)$}
    foreach {all mode rest} [regexp -all -inline -line $pattern [with_parts $file]] {
      set options {}
      foreach {all key value} [regexp -all -inline {(\w+)\s*=\s*(\w+)} $rest] {
        dict set options $key $value
      }
      need [dict exists $options port] "a pragma names no port: $all"
      lappend found $mode [dict get $options port] $options
    }
    need [llength $found] "csynth_design: the top function has no INTERFACE pragma"
    return $found
  }
  # A number, a macro or a constant of the headers beside the sources.
  proc value_of {text} {
    global state
    set headers [glob -directory [file dirname [lindex $state(sources) 0]] *.h]
    foreach header $headers {
      set pattern "(?:#define\\s+$text\\s+|\\m$text\\s*=\\s*)(0x\[0-9A-Fa-f\]+|\\d+)"
      if {[regexp -line $pattern [contents $header] all value]} {
        return $value
      }
    }
    need [string is integer -strict $text] "csynth_design: the value of $text is unknown"
    return $text
  }
  # Words of an array argument, 0 for a scalar; its extent is a product of constants.
  proc words_of {port} {
    if {![regexp "\\m$port\\\[(\[^\\\]\]+)\\\]" [contents [top_source]] all extent]} {
      return 0
    }
    set factors [lmap factor [split $extent *] {value_of [string trim [regsub {^.*::} [string trim $factor] {}]]}]
    return [expr [join $factors *]]
  }
  # Name and offset of each register as in the generated driver.
  proc registers {} {
    global state
    set found {AP_CTRL 0x0 GIE 0x4 IER 0x8 ISR 0xc}
    foreach {mode port options} $state(interfaces) {
      if {$mode ne "s_axilite" || $port eq "return" || ($state(scenario) eq "missing" && $port eq "ops_done")} {
        continue
      }
      need [dict exists $options offset] "csynth_design: Vitis HLS would choose the offset of $port"
      set moved [expr {$state(scenario) eq "offset" && $port eq "result"}]
      set offset [expr {[value_of [dict get $options offset]] + ($moved ? 8 : 0)}]
      set words [words_of $port]
      if {$words} {
        lappend found [string toupper $port]_BASE $offset
        lappend found [string toupper $port]_HIGH [expr {$offset + 4 * $words - 1}]
      } else {
        # Ports whose name is a word of Verilog get _r.
        lappend found [string toupper $port][expr {$port eq "task" ? "_R" : ""}]_DATA $offset
      }
    }
    return [expr {$state(scenario) eq "extra" ? [concat $found EXTRA_DATA 0xa0] : $found}]
  }

  # --- export -----------------------------------------------------------------------------------------------------
  proc export_design {given objects} {
    global state
    need_solution export_design
    need $state(synthesised) "export_design: nothing was synthesised"
    need [expr {[option $given -format] eq "ip_catalog"}] "export_design: Vivado's catalog needs -format ip_catalog"
    set vlnv [option $given -vendor xilinx.com]:[option $given -library hls]:$state(top):[option $given -version 1.0]
    set intfs {}
    foreach {mode port options} $state(interfaces) {
      set bundle [dict get $options bundle]
      if {$mode eq "m_axi"} {
        dict set intfs m_axi_$bundle {master ap_clk {}}
      } else {
        dict set intfs s_axi_$bundle {slave ap_clk Reg}
      }
    }
    set ip [file join $state(solution) impl ip]
    write_component $ip $vlnv {ap_clk in ap_rst_n in interrupt out} $intfs
    write_driver [file join $ip drivers $state(top)_v1_0 src x$state(top)_hw.h]
  }
  proc write_driver {file} {
    global state
    file mkdir [file dirname $file]
    set channel [open $file w]
    foreach {name offset} [registers] {
      puts $channel [format "#define X%s_CTRL_ADDR_%s 0x%04x" [string toupper $state(top)] $name $offset]
    }
    close $channel
  }
}
