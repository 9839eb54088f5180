# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Block design: PS, reset, accelerator, one SmartConnect per path. Needs create_project.tcl to have run.
#
# Names: PG201 (Zynq UltraScale+ PS: S_AXI_HP0_FPD to HP3_FPD are GP2 to GP5, M_AXI_HPM0_FPD is GP0), PG247
# (SmartConnect), PG164 (Processor System Reset), commands UG835. Each SmartConnect is one to one; it adapts identifiers,
# address width and side-band signals between the accelerator's AXI4 and the PS ports.

source [file join [file dirname [info script]] settings.tcl]

# Connects one output to many inputs.
proc fan_out {driver sinks} {
  foreach sink $sinks {
    connect_bd_net [get_bd_pins $driver] [get_bd_pins $sink]
  }
}

# Connects a master through a SmartConnect of its own to a slave.
proc connect_through {name master slave} {
  set cell [create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $name]
  set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $cell
  connect_bd_intf_net [get_bd_intf_pins $master] [get_bd_intf_pins $name/S00_AXI]
  connect_bd_intf_net [get_bd_intf_pins $name/M00_AXI] [get_bd_intf_pins $slave]
  fan_out ps/pl_clk0 [list $name/aclk]
  fan_out reset/interconnect_aresetn [list $name/aresetn]
}

create_bd_design $system

set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e ps]
if {[get_property board_part [current_project]] ne ""} {
  apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} $ps
}
set options [list \
  CONFIG.PSU__FPGA_PL0_ENABLE 1 \
  CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $clock_mhz \
  CONFIG.PSU__USE__FABRIC__RST 1 \
  CONFIG.PSU__USE__IRQ0 1 \
  CONFIG.PSU__USE__M_AXI_GP0 1 \
  CONFIG.PSU__USE__M_AXI_GP1 0 \
  CONFIG.PSU__USE__M_AXI_GP2 0 \
]
for {set port 0} {$port < $ports} {incr port} {
  set gp [expr {$port + 2}]
  lappend options CONFIG.PSU__USE__S_AXI_GP$gp 1 CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH $port_bits
}
set_property -dict $options $ps

create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset
set cell m3vit_accelerator_0
create_bd_cell -type ip -vlnv $ip_vlnv $cell
fan_out ps/pl_resetn0 [list reset/ext_reset_in]
fan_out ps/pl_clk0 [list reset/slowest_sync_clk $cell/$clock_pin ps/maxihpm0_fpd_aclk]
fan_out reset/peripheral_aresetn [list $cell/$reset_pin]
fan_out $cell/$interrupt_pin [list ps/pl_ps_irq0]

connect_through control ps/M_AXI_HPM0_FPD $cell/s_axi_ctrl
assign_bd_address -offset $control_base -range $control_range \
  -target_address_space [get_bd_addr_spaces -of_objects [get_bd_intf_pins ps/M_AXI_HPM0_FPD]] \
  [get_bd_addr_segs -of_objects [get_bd_intf_pins $cell/s_axi_ctrl]]
for {set port 0} {$port < $ports} {incr port} {
  fan_out ps/pl_clk0 [list ps/saxihp${port}_fpd_aclk]
  connect_through memory$port $cell/m_axi_hp$port ps/S_AXI_HP${port}_FPD
  # Everything behind the port is mapped, which leaves no warning; the driver only passes addresses in DDR4.
  assign_bd_address \
    -target_address_space [get_bd_addr_spaces -of_objects [get_bd_intf_pins $cell/m_axi_hp$port]] \
    [get_bd_addr_segs -of_objects [get_bd_intf_pins ps/S_AXI_HP${port}_FPD]]
}

validate_bd_design
save_bd_design
make_wrapper -top -import [get_files $system.bd]
set_property top ${system}_wrapper [get_filesets sources_1]
update_compile_order -fileset sources_1
