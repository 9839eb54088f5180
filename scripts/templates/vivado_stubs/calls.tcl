# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Reads table.tcl and checks calls against it. Options, values, positional arguments and their number must be as there.

namespace eval ::stub {
  # --- rows of the table ------------------------------------------------------------------------------------------
  variable rows {}

  # Keeps a row and sees to it that it names a source.
  proc row {kind name source content} {
    variable rows
    lassign $source document edition how
    set read [expr {[regexp {^\d{4}\.\d$} $edition] && $how in {page copy}}]
    if {![regexp {^(UG|PG)\d+$} $document] || !($read || ($edition eq "-" && $how in {use memory}))} {
      error "table.tcl: the row of $kind $name has no source: $source"
    }
    if {[dict exists $rows $kind $name]} {
      error "table.tcl: two rows of $kind $name"
    }
    dict set rows $kind $name $content
  }
  proc command {tool name source positional options} {
    row command "$tool $name" $source [list $positional $options]
  }
  proc property {class name source kind} {
    row property "$class $name" $source [list $kind]
  }
  proc header {tool name source} {
    row header "$tool $name" $source {}
  }
  proc config {vlnv name source kind default} {
    row config "$vlnv $name" $source [list $kind $default]
  }
  proc pin {vlnv name source direction condition} {
    row pin "$vlnv $name" $source [list $direction $condition]
  }
  proc intf {vlnv name source mode clock condition segments} {
    row intf "$vlnv $name" $source [list $mode $clock $condition $segments]
  }

  proc known {kind name} {
    variable rows
    return [dict exists $rows $kind $name]
  }
  proc entry {kind name} {
    variable rows
    return [dict get $rows $kind $name]
  }
  # Names of the rows of a kind that belong to an owner: an IP, a class or a tool.
  proc names {kind owner} {
    variable rows
    set found {}
    if {[dict exists $rows $kind]} {
      foreach name [dict keys [dict get $rows $kind]] {
        if {[lindex $name 0] eq $owner} {
          lappend found [lindex $name 1]
        }
      }
    }
    return $found
  }

  # --- calls ------------------------------------------------------------------------------------------------------
  proc need {condition message} {
    if {!$condition} {
      error $message
    }
  }
  proc option {given name {default ""}} {
    return [expr {[dict exists $given $name] ? [dict get $given $name] : $default}]
  }
  # The name of an object of a class; objects are the strings class:name.
  proc named {class object} {
    need [string match $class:* $object] "'$object' is not a $class"
    return [string range $object [string length $class:] end]
  }

  # Whether a value is of a kind, see table.tcl.
  proc fits {kind value} {
    set arguments [lassign $kind name]
    switch $name {
      any { return 1 }
      word { return [regexp {^[^-\s]\S*$} $value] }
      integer { return [regexp {^[1-9]\d*$} $value] }
      number { return [string is double -strict $value] }
      one { return [expr {$value in $arguments}] }
      like { return [expr {1 in [lmap pattern $arguments {string match $pattern $value}]}] }
    }
    error "table.tcl: there is no kind $kind"
  }
  proc check_value {what kind value} {
    need [fits $kind $value] "$what cannot be '$value'; it is [string map {one {one of} like {of the form}} $kind]"
  }

  # Options and objects of a call.
  proc parse {tool name arguments} {
    lassign [entry command "$tool $name"] positional options
    if {$tool eq "vivado"} {
      append options { -quiet flag -verbose flag}
    }
    set given {}
    set objects {}
    while {[llength $arguments]} {
      set arguments [lassign $arguments word]
      if {![regexp {^-[A-Za-z]} $word]} {
        lappend objects $word
        continue
      }
      need [dict exists $options $word] "$name has no option $word"
      need [expr {![dict exists $given $word]}] "$name has two options $word"
      dict set given $word 1
      if {[dict get $options $word] ne "flag"} {
        need [llength $arguments] "$name $word needs a value"
        set arguments [lassign $arguments value]
        check_value "$name $word" [dict get $options $word] $value
        dict set given $word $value
      }
      log $tool $name $word
    }
    log $tool $name ""
    check_positional $name $positional $objects
    return [list $given $objects]
  }
  proc check_positional {name positional objects} {
    set least 0
    set most 0
    foreach {title kind} $positional {
      set end [string index $kind end]
      incr least [expr {$end ne "?"}]
      set most [expr {$end eq "+" ? 1000000 : $most + 1}]
    }
    need [expr {[llength $objects] >= $least && [llength $objects] <= $most}] \
      "$name takes [dict keys $positional], not [llength $objects] objects: $objects"
    set index 0
    foreach object $objects {
      lassign [lrange $positional [expr {2 * min($index, [llength $positional] / 2 - 1)}] end] title kind
      check_value "$name <$title>" [string trimright $kind ?+] $object
      incr index
    }
  }

  # Writes down what was used, for tests of the table.
  proc log {tool name option} {
    global state
    if {$state(log) ne ""} {
      set channel [open $state(log) a]
      puts $channel [string trimright "$tool $name $option"]
      close $channel
    }
  }
}
