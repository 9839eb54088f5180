# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
# Vivado commands that the project may use: options (trailing 1: takes a value) and the number of objects (least, most).
#
# Meant to follow the Vivado Tcl Command Reference, UG835 (2022.2), and UG1118 for ipx::*. Looked up there: assign_bd_address,
# create_bd_cell, make_wrapper, get_bd_addr_segs. The other option lists are from experience, not checked page by page.
# make_wrapper documents its files as a positional argument and is written with -files by Vivado's own scripts. Every
# command also takes -quiet and -verbose.

set commands {
  add_files            {-fileset 1 -norecurse 0 -scan_for_includes 0 -copy_to 1 -force 0}             {0 1}
  apply_bd_automation  {-rule 1 -config 1 -dict 1}                                                    {0 1}
  assign_bd_address    {-target_address_space 1 -offset 1 -range 1 -external 0 -force 0}              {0 1}
  close_project        {-delete 0}                                                                    {0 0}
  connect_bd_intf_net  {-intf_net 1 -boundary_type 1 -auto_cc 0}                                      {2 2}
  connect_bd_net       {-net 1 -boundary_type 1}                                                      {2 99}
  create_bd_cell       {-vlnv 1 -type 1 -reference 1 -revision 1}                                     {1 1}
  create_bd_design     {-dir 1 -cell 1 -mode 1 -bdsource 1}                                           {1 1}
  create_project       {-part 1 -force 0 -in_memory 0 -ip 0 -rtl_kernel 0}                            {0 2}
  current_project      {}                                                                             {0 1}
  get_bd_addr_segs     {-regexp 0 -hierarchical 0 -filter 1 -of_objects 1 -excluded 0 -addressed 0
                        -unaddressed 0 -addressing 0 -addressables 0}                                 {0 1}
  get_bd_addr_spaces   {-regexp 0 -hierarchical 0 -filter 1 -of_objects 1}                            {0 1}
  get_bd_cells         {-regexp 0 -hierarchical 0 -filter 1 -of_objects 1 -include_replicated_objects 0} {0 1}
  get_bd_intf_pins     {-regexp 0 -hierarchical 0 -filter 1 -of_objects 1}                            {0 1}
  get_bd_pins          {-regexp 0 -hierarchical 0 -filter 1 -of_objects 1}                            {0 1}
  get_board_parts      {-regexp 0 -nocase 0 -latest_file_version 0 -latest_hw_revision 0 -filter 1}   {0 1}
  get_files            {-regexp 0 -nocase 0 -filter 1 -compile_order 1 -used_in 1 -norecurse 0 -references 0
                        -all 0 -of_objects 1}                                                         {0 1}
  get_filesets         {-regexp 0 -nocase 0 -filter 1}                                                {0 1}
  get_property         {-min 0 -max 0}                                                                {2 2}
  get_runs             {-regexp 0 -nocase 0 -filter 1}                                                {0 1}
  launch_runs          {-jobs 1 -scripts_only 0 -lsf 1 -dir 1 -to_step 1 -next_step 0 -host 1 -remote_cmd 1
                        -email_to 1 -email_all 0 -pre_launch_script 1 -post_launch_script 1 -force 0
                        -custom_script 1}                                                             {1 1}
  make_wrapper         {-top 0 -testbench 0 -inst_template 0 -fileset 1 -import 0 -force 0 -files 1}  {0 1}
  open_run             {-name 1 -pr_config 1}                                                         {1 1}
  report_power         {-no_propagation 0 -hier 1 -vid 0 -file 1 -name 1 -format 1 -advisory 0}       {0 0}
  report_timing_summary {-check_timing_verbose 0 -delay_type 1 -no_detailed_paths 0 -setup 0 -hold 0 -max_paths 1
                        -nworst 1 -unique_pins 0 -path_type 1 -input_pins 0 -slack_lesser_than 1
                        -report_unconstrained 0 -significant_digits 1 -no_header 0 -file 1 -append 0
                        -name 1 -return_string 0 -datasheet 0 -cells 1 -warn_on_violation 0}          {0 0}
  report_utilization   {-file 1 -append 0 -pblocks 1 -evaluate_pblock 0 -exclude_child_pblocks 0 -cells 1
                        -return_string 0 -slr 0 -packthru 0 -name 1 -no_primitives 0 -omit_locs 0
                        -hierarchical 0 -spreadsheet_file 1 -spreadsheet_table 1 -spreadsheet_depth 1
                        -hierarchical_depth 1 -hierarchical_percentages 0}                            {0 0}
  save_bd_design       {}                                                                             {0 1}
  set_property         {-dict 1}                                                                      {1 3}
  update_compile_order {-force_gui 0 -fileset 1}                                                      {0 0}
  update_ip_catalog    {-rebuild 0 -add_ip 1 -delete_ip 1 -disable_ip 1 -enable_ip 1 -add_interface 1
                        -delete_interface 1 -scan_changes 0 -repo_path 1}                             {0 0}
  validate_bd_design   {-force 0 -design 1}                                                           {0 0}
  wait_on_run          {-timeout 1}                                                                   {1 1}
  ipx::check_integrity {-xrt 0}                                                                       {1 1}
  ipx::create_xgui_files {-logo_file 1}                                                               {1 1}
  ipx::current_core    {}                                                                             {0 1}
  ipx::get_bus_interfaces {-of_objects 1 -filter 1 -regexp 0 -nocase 0}                               {0 1}
  ipx::package_project {-root_dir 1 -vendor 1 -library 1 -taxonomy 1 -import_files 0 -set_current 1 -force 0
                        -module 1 -generated_files 0 -force_update_compile_order 0}                   {0 0}
  ipx::save_core       {}                                                                             {0 1}
  ipx::update_checksums {}                                                                            {1 1}
}

# Properties by class of object, from UG912 (properties reference) and UG1118.
set properties {
  project {board_part target_language ip_repo_paths default_lib simulator_language}
  fileset {top}
  core    {name version display_name description vendor_display_name company_url core_revision ipi_drc
           supported_families}
  run     {strategy PROGRESS STATUS DIRECTORY STATS.WNS STATS.WHS STEPS.PHYS_OPT_DESIGN.IS_ENABLED}
}

# Steps of an implementation run and strategies, UG904.
set run_steps {opt_design power_opt_design place_design phys_opt_design route_design write_bitstream}
set strategies {{Vivado Implementation Defaults} Performance_Explore Performance_ExplorePostRoutePhysOpt
  Performance_NetDelay_high Performance_ExtraTimingOpt Congestion_SpreadLogic_high Area_Explore}
