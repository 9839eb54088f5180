# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Everything that the stand-ins know of Vivado and Vitis HLS, one row for each command, property, pin and interface.
#
# Every row names its source as {DOCUMENT EDITION HOW}:
#   page    the document's page in that edition was looked up (docs.amd.com)
#   copy    the document's text was read in a copy: UG835 2020.2 as comments in the public library Quokka.TCL
#   use     not looked up in the document, but seen in scripts of public repositories
#   memory  from memory, not looked up
# The edition is that of the page; "-" where no page was read. Only what the projects use is here, but of each command
# all options that its source lists, so that another documented option is no mistake.
#
# command  TOOL NAME SOURCE POSITIONAL OPTIONS    both are lists of name and kind
# header   TOOL NAME SOURCE                       that sources may include although it is not beside them
# property CLASS NAME SOURCE KIND                 of objects of a class: project, fileset, run, core
# config   VLNV NAME SOURCE KIND DEFAULT          of cells of an IP
# pin      VLNV NAME SOURCE DIRECTION CONDITION   in, out or optional; present where CONDITION holds: {} always,
# intf     VLNV NAME SOURCE MODE CLOCK CONDITION SEGMENTS   {P} if P is not 0, {P n} if P is at least n
#
# Kinds of values: flag (an option without one), any, word (no space), integer, number, {one A B}, {like PATTERN ...}.
# Behind a positional's kind: ? may be left out, + one or more. Vivado's commands also take -quiet and -verbose (UG835).

# --- Vitis HLS ------------------------------------------------------------------------------------------------------
command vitis_hls add_files {UG1399 2025.2 page} {src_files any} {
  -blackbox any -cflags any -csimflags any -tb flag
}
command vitis_hls create_clock {UG1399 2022.2 page} {} {-name word -period {like [1-9]* 0.*}}
command vitis_hls csim_design {UG1399 2025.2 page} {} {
  -O flag -argv any -clean flag -ldflags any -sanitize_address flag -sanitize_undefined flag -setup flag
}
command vitis_hls csynth_design {UG1399 2021.2 page} {} {-dump_cfg flag -dump_post_cfg flag -synthesis_check flag}
# The options behind -format are on the page of config_export, 2020.2 to 2023.2.
command vitis_hls export_design {UG1399 2025.2 page} {} {
  -description any -display_name any -flow {one syn impl} -format {one ip_catalog xo syn_dcp sysgen} -ipname word
  -library word -output any -rtl {one verilog vhdl} -taxonomy any -vendor word -version {like [0-9]*.[0-9]*}
}
command vitis_hls open_project {UG1399 2025.2 page} {name word} {-ide {one classic vitis} -reset flag -upgrade flag}
command vitis_hls open_solution {UG1399 2025.2 page} {name word} {-flow_target {one vitis vivado} -reset flag}
command vitis_hls set_part {UG1399 - memory} {part word} {}
command vitis_hls set_top {UG1399 2023.2 page} {name word} {}

# Headers that the tool brings.
header vitis_hls ap_int.h {UG1399 - memory}
header vitis_hls hls_stream.h {UG1399 - memory}

# --- Vivado: projects and runs --------------------------------------------------------------------------------------
command vivado add_files {UG835 2020.2 copy} {files any?} {
  -fileset word -of_objects any -norecurse flag -copy_to any -force flag -scan_for_includes flag
}
command vivado close_project {UG835 2020.2 copy} {} {-delete flag}
command vivado create_project {UG835 2020.2 copy} {name word? dir any?} {
  -part word -force flag -in_memory flag -ip flag -rtl_kernel flag
}
command vivado current_project {UG835 2020.2 copy} {project word?} {}
command vivado get_board_parts {UG835 2020.2 copy} {patterns any?} {
  -regexp flag -nocase flag -latest_file_version flag -latest_hw_revision flag -filter any
}
command vivado get_files {UG835 2020.2 copy} {patterns any?} {
  -regexp flag -nocase flag -filter any -compile_order word -used_in word -references flag -all flag -of_objects any
}
command vivado get_filesets {UG835 2020.2 copy} {patterns word?} {
  -regexp flag -nocase flag -filter any -of_objects any
}
command vivado get_property {UG835 2020.2 copy} {name word object word} {-min flag -max flag}
command vivado get_runs {UG835 2020.2 copy} {patterns word?} {-regexp flag -nocase flag -filter any -of_objects any}
# The steps are those of UG904, from memory.
command vivado launch_runs {UG835 2023.1 page} {runs word+} {
  -jobs integer -scripts_only flag -lsf any -sge any -cluster_configuration any -dir any
  -to_step {one opt_design power_opt_design place_design post_place_power_opt_design phys_opt_design route_design
            post_route_phys_opt_design write_bitstream}
  -next_step flag -host any -remote_cmd any -email_to any -email_all flag -pre_launch_script any
  -post_launch_script any -custom_script any -force flag
}
command vivado open_run {UG835 2021.1 page} {run word} {-name word -pr_config word}
command vivado report_power {UG835 2020.2 copy} {} {
  -no_propagation flag -hier {one all power none} -hierarchical_depth integer -vid flag -advisory flag -file any
  -name word -format {one text xml} -xpe any -l integer -return_string flag -append flag -rpx any
}
command vivado report_timing_summary {UG835 2023.1 page} {} {
  -check_timing_verbose flag -delay_type {one max min min_max} -no_detailed_paths flag -setup flag -hold flag
  -max_paths integer -nworst integer -unique_pins flag -path_type word -no_reused_label flag -input_pins flag
  -no_pr_attribute flag -no_pblock flag -routable_nets flag -slack_lesser_than number -report_unconstrained flag
  -significant_digits integer -no_header flag -file any -append flag -name word -return_string flag
  -warn_on_violation flag -datasheet flag -cells any -rpx any
}
command vivado report_utilization {UG835 - memory} {} {
  -file any -append flag -pblocks any -evaluate_pblock flag -exclude_child_pblocks flag -cells any -return_string flag
  -slr flag -packthru flag -name word -no_primitives flag -omit_locs flag -hierarchical flag -spreadsheet_file any
  -spreadsheet_table any -spreadsheet_depth integer -hierarchical_depth integer -hierarchical_percentages flag
}
command vivado set_property {UG835 2020.2 copy} {name any? value any? objects any+} {-dict any}
command vivado update_compile_order {UG835 2023.1 page} {} {-force_gui flag -fileset word}
command vivado update_ip_catalog {UG835 2020.2 copy} {} {
  -rebuild flag -add_ip any -delete_ip any -delete_mult_ip any -disable_ip any -enable_ip any -add_interface any
  -create_index flag -repo_path any -update_module_ref flag
}
# The page is that of wait_on_runs, whose example calls wait_on_run.
command vivado wait_on_run {UG835 2022.2 page} {runs word+} {
  -timeout number -exit_condition {one ALL ANY_ONE ANY_ONE_MET_TIMING}
}

# --- Vivado: block designs ------------------------------------------------------------------------------------------
command vivado apply_bd_automation {UG835 2020.2 copy} {objects word+} {
  -rule {like xilinx.com:bd_rule:*} -config any -dict any -opts any
}
command vivado assign_bd_address {UG835 2020.2 copy} {objects any?} {
  -target_address_space word -boundary flag -master_boundary flag -external flag -dict any -import_from_file any
  -export_to_file any -export_gui_to_file any -offset {like 0x[0-9A-Fa-f]*} -range {like [1-9]*[KMG]} -base_high word
  -force flag
}
command vivado connect_bd_intf_net {UG835 2020.2 copy} {object1 word object2 word} {
  -intf_net word -boundary_type {one upper lower both}
}
command vivado connect_bd_net {UG835 2020.2 copy} {objects word+} {-net word -boundary_type {one upper lower both}}
command vivado create_bd_cell {UG835 2020.2 copy} {name word} {
  -vlnv {like *:*:*} -type {one ip hier module} -reference word -revision word
}
command vivado create_bd_design {UG835 2020.2 copy} {name word} {-dir any -cell word}
command vivado get_bd_addr_segs {UG835 2020.2 copy} {patterns word?} {
  -regexp flag -hierarchical flag -filter any -of_objects any -excluded flag -addressed flag -unaddressed flag
  -addressing flag -addressables flag
}
command vivado get_bd_addr_spaces {UG835 2025.2 page} {patterns word?} {
  -regexp flag -hierarchical flag -filter any -of_objects any
}
command vivado get_bd_intf_pins {UG835 2020.2 copy} {patterns word?} {
  -regexp flag -hierarchical flag -filter any -of_objects any
}
command vivado get_bd_pins {UG835 2020.2 copy} {patterns word?} {
  -regexp flag -hierarchical flag -filter any -of_objects any
}
command vivado make_wrapper {UG835 2020.2 copy} {files any} {
  -top flag -testbench flag -inst_template flag -fileset word -import flag -force flag
}
command vivado save_bd_design {UG835 2020.2 page} {name word?} {}
command vivado validate_bd_design {UG835 2020.2 page} {} {-force flag -design word -include_pfm flag}

# --- Vivado: IP packager --------------------------------------------------------------------------------------------
command vivado ipx::check_integrity {UG1118 - use} {core word} {-kernel flag -xrt flag}
command vivado ipx::create_xgui_files {UG1118 - use} {core word} {-logo_file any}
command vivado ipx::current_core {UG1118 - use} {core word?} {}
command vivado ipx::get_bus_interfaces {UG1118 - use} {patterns word?} {
  -of_objects word -filter any -regexp flag -nocase flag
}
command vivado ipx::package_project {UG1118 - use} {} {
  -root_dir any -vendor word -library word -taxonomy word -module word -import_files flag
  -set_current {one true false} -force flag
}
command vivado ipx::save_core {UG1118 - use} {core word?} {}
command vivado ipx::update_checksums {UG1118 - use} {core word} {}

# --- properties -----------------------------------------------------------------------------------------------------
property project board_part {UG835 - use} {like *:*:part0:*}
property project ip_repo_paths {UG835 2020.2 copy} any
property project target_language {UG835 - memory} {one Verilog VHDL}
property fileset top {UG835 - use} word
property run DIRECTORY {UG904 2022.1 page} any
property run PROGRESS {UG835 2022.2 page} any
property run STATS.WNS {UG912 - use} number
property run STATUS {UG912 - use} any
property run strategy {UG904 - use} {one {Vivado Implementation Defaults} Performance_Explore
  Performance_ExplorePostRoutePhysOpt Performance_ExtraTimingOpt Performance_NetDelay_high Congestion_SpreadLogic_high
  Area_Explore}
property core description {UG1118 - use} any
property core display_name {UG1118 - use} any
property core ipi_drc {UG1118 - use} {one {ignore_freq_hz true} {ignore_freq_hz false}}
property core version {UG1118 - memory} {like [0-9]*.[0-9]*}

# --- processing system ----------------------------------------------------------------------------------------------
# The names are seen in scripts of public repositories; PG201, which describes the IP, was not looked up.
set ps xilinx.com:ip:zynq_ultra_ps_e
set flag {one 0 1}
config $ps CONFIG.PSU__FPGA_PL0_ENABLE {PG201 - use} $flag 1
config $ps CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {PG201 - use} number 100
config $ps CONFIG.PSU__USE__FABRIC__RST {PG201 - use} $flag 1
config $ps CONFIG.PSU__USE__IRQ0 {PG201 - use} $flag 0
config $ps CONFIG.PSU__USE__IRQ1 {PG201 - use} $flag 0
pin $ps pl_clk0 {PG201 - use} out CONFIG.PSU__FPGA_PL0_ENABLE
pin $ps pl_resetn0 {PG201 - use} out CONFIG.PSU__USE__FABRIC__RST
pin $ps pl_ps_irq0 {PG201 - use} in CONFIG.PSU__USE__IRQ0
pin $ps pl_ps_irq1 {PG201 - memory} in CONFIG.PSU__USE__IRQ1
# GP0 and GP1 are on in a fresh PS: from memory.
foreach {gp name clock default} {
  0 M_AXI_HPM0_FPD maxihpm0_fpd_aclk 1
  1 M_AXI_HPM1_FPD maxihpm1_fpd_aclk 1
  2 M_AXI_HPM0_LPD maxihpm0_lpd_aclk 0
} {
  set use CONFIG.PSU__USE__M_AXI_GP$gp
  config $ps $use {PG201 - use} $flag $default
  config $ps CONFIG.PSU__MAXIGP${gp}__DATA_WIDTH {PG201 - use} {one 32 64 128} 128
  pin $ps $clock {PG201 - use} in $use
  intf $ps $name {PG201 - use} master $clock $use {}
}
foreach {gp name clock segments} {
  0 S_AXI_HPC0_FPD saxihpc0_fpd_aclk {HPC0_DDR_LOW HPC0_QSPI}
  1 S_AXI_HPC1_FPD saxihpc1_fpd_aclk {HPC1_DDR_LOW HPC1_QSPI}
  2 S_AXI_HP0_FPD saxihp0_fpd_aclk {HP0_DDR_LOW HP0_QSPI}
  3 S_AXI_HP1_FPD saxihp1_fpd_aclk {HP1_DDR_LOW HP1_QSPI}
  4 S_AXI_HP2_FPD saxihp2_fpd_aclk {HP2_DDR_LOW HP2_QSPI}
  5 S_AXI_HP3_FPD saxihp3_fpd_aclk {HP3_DDR_LOW HP3_QSPI}
} {
  set use CONFIG.PSU__USE__S_AXI_GP$gp
  config $ps $use {PG201 - use} $flag 0
  config $ps CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH {PG201 - use} {one 32 64 128} 128
  pin $ps $clock {PG201 - use} in $use
  intf $ps $name {PG201 - use} slave $clock $use $segments
}

# --- reset and SmartConnect -----------------------------------------------------------------------------------------
set reset xilinx.com:ip:proc_sys_reset
config $reset CONFIG.C_EXT_RESET_HIGH {PG164 - memory} $flag 0
foreach {name direction how} {
  slowest_sync_clk in use ext_reset_in in use aux_reset_in optional memory mb_debug_sys_rst optional memory
  dcm_locked optional memory mb_reset out memory bus_struct_reset out memory peripheral_reset out memory
  interconnect_aresetn out memory peripheral_aresetn out use
} {
  pin $reset $name [list PG164 - $how] $direction {}
}
set smartconnect xilinx.com:ip:smartconnect
config $smartconnect CONFIG.NUM_SI {PG247 - memory} integer 2
config $smartconnect CONFIG.NUM_MI {PG247 - memory} integer 1
config $smartconnect CONFIG.NUM_CLKS {PG247 - memory} integer 1
pin $smartconnect aclk {PG247 - use} in {}
pin $smartconnect aresetn {PG247 - memory} in {}
intf $smartconnect S00_AXI {PG247 - memory} slave aclk {} {}
intf $smartconnect S01_AXI {PG247 - memory} slave aclk {CONFIG.NUM_SI 2} {}
intf $smartconnect M00_AXI {PG247 - memory} master aclk {} {}
