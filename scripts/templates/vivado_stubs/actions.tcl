# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# What each command does to the stand-in's state. `given` holds the options, `objects` the rest.

namespace eval ::act {
  namespace eval ipx {}

  proc option {given name {default ""}} {
    return [expr {[dict exists $given $name] ? [dict get $given $name] : $default}]
  }

  proc need {condition message} {
    if {!$condition} {
      error $message
    }
  }

  # The name of an object of a class.
  proc named {class object} {
    need [string match $class:* $object] "'$object' is not a $class"
    return [string range $object [string length $class:] end]
  }

  # --- projects and files -----------------------------------------------------------------------------------------
  proc create_project {given objects} {
    global state
    need [expr {![info exists state(project)]}] "create_project: a project is already open"
    need [regexp {^xc[a-z0-9]+-[a-z0-9]+-\d-[a-z]$} [option $given -part]] "create_project: no such part [option $given -part]"
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
    set path [option [array get state property,project:,ip_repo_paths] property,project:,ip_repo_paths]
    set state(catalog) [expr {[file isfile [file join $path component.xml]] ? "m3vit:accelerator:m3vit_top:1.0" : ""}]
  }

  # --- properties -------------------------------------------------------------------------------------------------
  proc check_property {object name} {
    global properties state ip_config
    set class [lindex [split $object :] 0]
    if {$class eq "cell"} {
      set vlnv $state(cell,[named cell $object])
      need [dict exists $ip_config($vlnv) $name] "$vlnv has no property $name"
    } else {
      need [dict exists $properties $class] "'$object' has no properties these stubs know"
      need [expr {$name in [dict get $properties $class]}] "a $class has no property $name"
    }
  }
  proc store_property {object name value} {
    global state ip_config strategies
    check_property $object $name
    if {[string match cell:* $object]} {
      set patterns [lindex [dict get $ip_config($state(cell,[named cell $object])) $name] 1]
      set legal [lmap pattern [split $patterns |] {string match $pattern $value}]
      need [expr {1 in $legal}] "$name cannot be $value"
    }
    if {$name eq "strategy"} {
      need [expr {$value in $strategies}] "no such strategy $value"
    }
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
    global state ip_config
    lassign $objects name object
    check_property $object $name
    if {[info exists state(property,$object,$name)]} {
      return $state(property,$object,$name)
    }
    need [string match cell:* $object] "property $name of $object has no value yet"
    return [lindex [dict get $ip_config($state(cell,[named cell $object])) $name] 0]
  }

  # --- packager ---------------------------------------------------------------------------------------------------
  proc ipx::package_project {given objects} {
    global state
    ::act::need [info exists state(property,fileset:sources_1,top)] "ipx::package_project: no top is set"
    set top $state(property,fileset:sources_1,top)
    set vlnv [dict get $given -vendor]:[dict get $given -library]:$top:1.0
    ::define_packaged $vlnv $state(file,$top.v)
    set state(core) $vlnv
    set state(root_dir) [dict get $given -root_dir]
    return core:$vlnv
  }
  proc ipx::current_core {given objects} {
    global state
    ::act::need [info exists state(core)] "no core is open"
    return core:$state(core)
  }
  proc ipx::get_bus_interfaces {given objects} {
    global ip_pins ip_intfs
    set vlnv [::act::named core [dict get $given -of_objects]]
    set found [expr {[dict exists $ip_pins($vlnv) $objects] || [dict exists $ip_intfs($vlnv) $objects]}]
    ::act::need [expr {$found || [dict exists $given -quiet]}] "the core has no interface $objects"
    return [expr {$found ? "bus:$objects" : ""}]
  }
  proc ipx::create_xgui_files {given objects} {
    ::act::named core [lindex $objects 0]
  }
  proc ipx::update_checksums {given objects} {
    ::act::named core [lindex $objects 0]
  }
  proc ipx::check_integrity {given objects} {
    ::act::named core [lindex $objects 0]
  }
  proc ipx::save_core {given objects} {
    global state
    ::act::named core [lindex $objects 0]
    file mkdir $state(root_dir)
    close [open [file join $state(root_dir) component.xml] w]
  }
}
