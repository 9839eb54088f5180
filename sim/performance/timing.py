# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: 2026 The m3vit authors
"""Latencies of the RTL that the performance model is built on, in cycles.

Each follows from the registers in the module that is named, but for WRITE_CYCLES and SKIP_CYCLES, which were set by
what development cases measured. sim/performance_check.py holds the model to the RTL's counters.
"""

ACT_LATENCY = 5
"""From the issue of a row to the MAC array, which then takes the waiting weights (m3vit_pkg ActLatency)."""
KV_LATENCY = 3
"""From a request to the key-value buffer to the unit (m3vit_pkg KvLatency)."""
OUTPUT_LATENCY = 41
"""From the issue of a row of a last chunk to the engine's output: fetch 5, array and wait for factors 30, accumulator
2, requantisation 3, queue 1 (m3vit_linear_engine)."""
SCORE_DRAIN = 25
"""From the issue of a row of scores until the attention unit is idle: fetch 5, array 11, maximum 8, one."""
BYTES_DRAIN = OUTPUT_LATENCY + 2
"""From the last issue until results are in the x, h or kv buffer and the engine is quiet (m3vit_datapath)."""
RESIDUAL_DRAIN = OUTPUT_LATENCY + 5
"""From the last issue until results are in the residual and the engine is quiet (m3vit_residual)."""
SWAP_CYCLES = ACT_LATENCY + 2
"""Least distance of the first rows of two passes: the array swaps its weights (m3vit_row_issuer swapped_q)."""
OUTPUT_QUEUE = 64
"""Rows between issue and output at most (m3vit_linear_engine OutputDepth)."""
SETTLE_CYCLES = 8
"""Wait of a fenced first chunk (m3vit_row_issuer SettleCycles)."""
COMMAND_QUEUE = 4
"""Commands that wait for feeder and issuer (m3vit_linear_engine)."""
OP_CYCLES = 6
"""From an operation's last command to the first of the next one: Next, Read, Latch, Prepare, Begin (m3vit_executor)."""
SHORT_BLOCK = 96
"""Query rows below which weighted values wait for all scores (m3vit_executor ShortBlock)."""
NORM_PIPELINE = 25
"""From the last granule of a row to its first granule written, less one: LayerNorm (m3vit_layer_norm)."""
ROUTER_LANE = 6
"""Cycles that a router lane spends on a token besides one per expert: stage, drain, write (m3vit_router_lane)."""
RENORMALISE = 3
"""The same for the sum over the chosen experts, besides one per expert."""
QUEUE_DRAIN = 22
"""From the last row of a scan to the complete queue (m3vit_queue_builder)."""
SEGMENTS = 16
"""Experts that the loader is ahead of the feeder at most (m3vit_core u_segments)."""
STREAM_LATENCY = 3
"""From a word's arrival to its visibility at the feeder (m3vit_stream)."""
SKIP_CYCLES = 5
"""From a skip to the first word behind it, if that has arrived (m3vit_stream)."""
REQUEST_CYCLES = 2
"""From a job's acceptance to the request of its first burst at the memory (m3vit_dma_read, m3vit_read_port)."""
READ_WINDOW = 32
"""DRAM words that a port of the DMA asks for ahead of delivery (m3vit_read_port)."""
FETCH_CYCLES = 2
"""From START to the request of the program (m3vit_sequencer)."""
START_CYCLES = 7
"""From the last word of the program to the first job or command: check, Read, Latch, Size, Sum (m3vit_loader)."""
LOADER_OP_CYCLES = 6
"""From an operation's last job to the first of the next one (m3vit_loader)."""
PATCH_LATENCY = 3
"""From the last word of the image to its last patch (m3vit_patches)."""
GELU_LATENCY = 131
"""From the first word of a GELU table to the complete table: 8 of 1,024 bytes per cycle (m3vit_gelu)."""
WRITE_CYCLES = 7
"""From the first word of the result to its first beat: a burst is collected and asked for (m3vit_write_port)."""
CACHE_LOOK = 3
"""From a demand to the command, if the expert is in the cache: Look, Seek, Give (m3vit_expert_cache)."""
CACHE_LOAD = 3
"""The same for an expert that has just been read: Ask, last word, Seek (m3vit_expert_cache, m3vit_stream)."""
