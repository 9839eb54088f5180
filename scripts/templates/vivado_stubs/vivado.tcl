# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# What each command of Vivado does to the stand-in's state. `given` holds the options, `objects` the rest.

namespace eval ::vivado {
  namespace path ::stub
  namespace eval ipx {
    namespace path ::stub
  }

  # --- projects and files -----------------------------------------------------------------------------------------
  proc create_project {given objects} {
    global state
    need [expr {![info exists state(project)]}] "create_project: a project is already open"
    need [expr {[llength $objects] == 2 && [dict exists $given -force]}] "create_project needs a folder and -force here"
    set part [option $given -part]
    need [regexp {^xc[a-z0-9]+-[a-z0-9]+-\d-[a-z]$} $part] "create_project: no such part $part"
    lassign $objects state(project) state(dir)
    file mkdir $state(dir)
    array unset state property,*
    array unset state file,*
    set state(property,project:,board_part) ""
    return project:
  }
  proc close_project {given objects} {
    global state
    current_project {} {}
    unset state(project)
  }
  proc current_project {given objects} {
    global state
    need [info exists state(project)] "no project is open"
    return project:
  }
  proc add_files {given objects} {
    global state
    current_project {} {}
    need [expr {[option $given -fileset sources_1] in {sources_1 constrs_1 sim_1}}] "add_files: no such fileset"
    foreach file [lindex $objects 0] {
      need [file isfile $file] "add_files: there is no file $file"
      set state(file,[file tail $file]) $file
    }
  }
  proc get_filesets {given objects} {
    current_project {} {}
    need [expr {$objects in {sources_1 constrs_1 sim_1}}] "get_filesets: no such fileset $objects"
    return fileset:$objects
  }
  proc get_files {given objects} {
    global state
    need [info exists state(file,[lindex $objects 0])] "get_files: no such file [lindex $objects 0]"
    return file:[lindex $objects 0]
  }
  proc update_compile_order {given objects} {
    current_project {} {}
  }
  proc get_board_parts {given objects} {
    global state
    return [expr {$state(scenario) eq "no_board" ? "" : "xilinx.com:zcu104:part0:1.0 xilinx.com:zcu104:part0:1.1"}]
  }
  proc update_ip_catalog {given objects} {
    global state
    current_project {} {}
    set state(catalog) {}
    foreach folder [get_property {} {ip_repo_paths project:}] {
      lappend state(catalog) [read_component $folder]
    }
  }

  # --- properties -------------------------------------------------------------------------------------------------
  # Kind and, of a cell's property, default value.
  proc property_entry {object name} {
    global state
    set class [lindex [split $object :] 0]
    set owner [expr {$class eq "cell" ? $state(cell,[named cell $object]) : $class}]
    set row [expr {$class eq "cell" ? "config" : "property"}]
    need [known $row "$owner $name"] "a $owner has no property $name"
    return [entry $row "$owner $name"]
  }
  proc store_property {object name value} {
    global state
    check_value $name [lindex [property_entry $object $name] 0] $value
    if {$name eq "top"} {
      need [expr {[array names state file,$value.*] ne ""}] "there is no source file of the top module $value"
    }
    set state(property,$object,$name) $value
  }
  proc set_property {given objects} {
    if {[dict exists $given -dict]} {
      need [expr {[llength $objects] == 1}] "set_property -dict takes one object"
      need [expr {[llength [dict get $given -dict]] % 2 == 0}] "set_property -dict needs pairs"
      foreach {name value} [dict get $given -dict] {
        store_property [lindex $objects 0] $name $value
      }
      return
    }
    lassign $objects name value object
    need [expr {[llength $objects] == 3}] "set_property takes a name, a value and an object"
    store_property $object $name $value
  }
  proc get_property {given objects} {
    global state
    lassign $objects name object
    set entry [property_entry $object $name]
    if {[info exists state(property,$object,$name)]} {
      return $state(property,$object,$name)
    }
    need [string match cell:* $object] "property $name of $object has no value yet"
    return [lindex $entry 1]
  }

  # --- packager ---------------------------------------------------------------------------------------------------
  proc ipx::package_project {given objects} {
    global state
    foreach name {-root_dir -vendor -library -taxonomy -import_files} {
      need [dict exists $given $name] "ipx::package_project needs $name here"
    }
    need [info exists state(property,fileset:sources_1,top)] "ipx::package_project: no top is set"
    set top $state(property,fileset:sources_1,top)
    lassign [read_shell $state(file,$top.v)] state(core,pins) state(core,intfs)
    set state(core) [dict get $given -vendor]:[dict get $given -library]:$top
    set state(core,dir) [dict get $given -root_dir]
    return core:$state(core)
  }
  proc ipx::current_core {given objects} {
    global state
    need [info exists state(core)] "no core is open"
    return core:$state(core)
  }
  proc ipx::get_bus_interfaces {given objects} {
    global state
    named core [dict get $given -of_objects]
    set found [expr {[dict exists $state(core,pins) $objects] || [dict exists $state(core,intfs) $objects]}]
    need [expr {$found || [dict exists $given -quiet]}] "the core has no interface $objects"
    return [expr {$found ? "bus:$objects" : ""}]
  }
  proc ipx::create_xgui_files {given objects} {
    named core [lindex $objects 0]
  }
  proc ipx::update_checksums {given objects} {
    named core [lindex $objects 0]
  }
  proc ipx::check_integrity {given objects} {
    named core [lindex $objects 0]
  }
  proc ipx::save_core {given objects} {
    global state
    set vlnv [named core [lindex $objects 0]]:[::vivado::get_property {} [list version [lindex $objects 0]]]
    write_component $state(core,dir) $vlnv $state(core,pins) $state(core,intfs)
  }
}
