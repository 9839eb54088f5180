# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# IPs that the block design may use: configuration properties with their legal values, pins and interface pins with
# the configuration that makes them appear. Meant to follow PG201, PG247 and PG164; from experience, not checked page by page.
#
# ip_config:  vlnv -> {property {default pattern} ...}
# ip_pins:    vlnv -> {pin {direction condition} ...}            direction in or out
# ip_intfs:   vlnv -> {pin {mode clock condition segments} ...}  mode master or slave, clock: pin that must run

proc define_ps {} {
  global ip_config ip_pins ip_intfs
  set vlnv xilinx.com:ip:zynq_ultra_ps_e
  set flag {[01]}
  set ip_config($vlnv) [dict create \
    CONFIG.PSU__FPGA_PL0_ENABLE [list 1 $flag] \
    CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ [list 100 {[0-9]*}] \
    CONFIG.PSU__USE__FABRIC__RST [list 1 $flag] \
    CONFIG.PSU__USE__IRQ0 [list 0 $flag] \
    CONFIG.PSU__USE__IRQ1 [list 0 $flag]]
  set ip_pins($vlnv) [dict create \
    pl_clk0 {out CONFIG.PSU__FPGA_PL0_ENABLE} \
    pl_resetn0 {out CONFIG.PSU__USE__FABRIC__RST} \
    pl_ps_irq0 {in CONFIG.PSU__USE__IRQ0} \
    pl_ps_irq1 {in CONFIG.PSU__USE__IRQ1}]
  set ip_intfs($vlnv) [dict create]
  # GP0 and GP1 are on in a fresh PS.
  foreach {gp name clock default} {
    0 M_AXI_HPM0_FPD maxihpm0_fpd_aclk 1
    1 M_AXI_HPM1_FPD maxihpm1_fpd_aclk 1
    2 M_AXI_HPM0_LPD maxihpm0_lpd_aclk 0
  } {
    set use CONFIG.PSU__USE__M_AXI_GP$gp
    dict set ip_config($vlnv) $use [list $default $flag]
    dict set ip_config($vlnv) CONFIG.PSU__MAXIGP${gp}__DATA_WIDTH {128 32|64|128}
    dict set ip_pins($vlnv) $clock [list in $use]
    dict set ip_intfs($vlnv) $name [list master $clock $use {}]
  }
  foreach {gp name clock low} {
    0 S_AXI_HPC0_FPD saxihpc0_fpd_aclk HPC0_DDR_LOW
    1 S_AXI_HPC1_FPD saxihpc1_fpd_aclk HPC1_DDR_LOW
    2 S_AXI_HP0_FPD saxihp0_fpd_aclk HP0_DDR_LOW
    3 S_AXI_HP1_FPD saxihp1_fpd_aclk HP1_DDR_LOW
    4 S_AXI_HP2_FPD saxihp2_fpd_aclk HP2_DDR_LOW
    5 S_AXI_HP3_FPD saxihp3_fpd_aclk HP3_DDR_LOW
  } {
    set use CONFIG.PSU__USE__S_AXI_GP$gp
    dict set ip_config($vlnv) $use [list 0 $flag]
    dict set ip_config($vlnv) CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH {128 32|64|128}
    dict set ip_pins($vlnv) $clock [list in $use]
    dict set ip_intfs($vlnv) $name [list slave $clock $use [list $low [string map {DDR_LOW QSPI} $low]]]
  }
}

proc define_fabric_ips {} {
  global ip_config ip_pins ip_intfs
  set vlnv xilinx.com:ip:proc_sys_reset
  set ip_config($vlnv) {CONFIG.C_EXT_RESET_HIGH {0 [01]}}
  set ip_pins($vlnv) {
    slowest_sync_clk {in {}} ext_reset_in {in {}} aux_reset_in {optional {}} mb_debug_sys_rst {optional {}}
    dcm_locked {optional {}} mb_reset {out {}} bus_struct_reset {out {}} peripheral_reset {out {}}
    interconnect_aresetn {out {}} peripheral_aresetn {out {}}
  }
  set ip_intfs($vlnv) {}
  set vlnv xilinx.com:ip:smartconnect
  set ip_config($vlnv) {CONFIG.NUM_SI {2 [0-9]*} CONFIG.NUM_MI {1 [0-9]*} CONFIG.NUM_CLKS {1 [0-9]*}}
  set ip_pins($vlnv) {aclk {in {}} aresetn {in {}}}
  set ip_intfs($vlnv) {S00_AXI {slave aclk {} {}} S01_AXI {slave aclk {CONFIG.NUM_SI 2} {}} M00_AXI {master aclk {} {}}}
}

# The packaged accelerator, from the attributes of its Verilog shell: what Vivado itself would read (UG994).
proc define_packaged {vlnv file} {
  global ip_config ip_pins ip_intfs
  set channel [open $file]
  set text [read $channel]
  close $channel
  array set ip_config [list $vlnv {}]
  set pins {}
  set intfs {}
  set pattern {X_INTERFACE_INFO = "(\S+) (\w+) (\w+)" \*\)\s+(input|output) wire (?:\[\d+:0\] )?(\w+)}
  foreach {all type bus signal direction port} [regexp -all -inline $pattern $text] {
    if {[string match *:aximm:* $type]} {
      if {$signal eq "ARVALID"} {
        set mode [expr {$direction eq "output" ? "master" : "slave"}]
        dict set intfs $bus [list $mode aclk {} [expr {$mode eq "slave" ? "reg0" : ""}]]
      }
    } else {
      dict set pins $port [list [expr {$direction eq "output" ? "out" : "in"}] {}]
    }
  }
  set ports [regexp -all {\n\s+(?:input|output) wire } $text]
  set described [llength [regexp -all -inline -line {X_INTERFACE_INFO = } $text]]
  if {$ports != $described} {
    error "$file declares $ports ports but describes $described by X_INTERFACE_INFO"
  }
  if {![regexp {ASSOCIATED_BUSIF ([\w:]+), ASSOCIATED_RESET (\w+)"} $text all buses reset]} {
    error "$file does not associate its AXI interfaces with a clock and a reset"
  }
  if {[lsort [split $buses :]] ne [lsort [dict keys $intfs]]} {
    error "$file associates the interfaces $buses with its clock, but has [dict keys $intfs]"
  }
  set ip_pins($vlnv) $pins
  set ip_intfs($vlnv) $intfs
}

define_ps
define_fabric_ips
