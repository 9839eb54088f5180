// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Token queues of the experts, formed by scanning the routes once for each expert that has tokens: nothing here grows
/// with the number of experts. Golden: sim/golden/moe.py token_queues; in RTL: m3vit_queue_builder.sv.
#ifndef M3VIT_QUEUE_BUILDER_H_
#define M3VIT_QUEUE_BUILDER_H_

#include "router.h"

namespace m3vit {

/// Builds all queues: experts ascending, tokens ascending within each. Returns the number of experts with tokens.
/// Invariant of the scan: `expert` is the lowest one not yet done, `next` the lowest one above it seen so far.
/// \param k        chosen experts of a token
/// \param experts  experts with tokens
template <class C>
int build_queues(State<C>& s, const int rows, const int k, uint16_t experts[Sizes<C>::routes]) {
  int used = 0, entries = 0, expert = -1;
  bool is_search = true;  // the first scan only looks for the lowest expert
scans:
  while (true) {
    int next = kNoExpert;
  rows:
    for (int row = 0; row < rows; ++row) {
#pragma HLS PIPELINE II = 1
      bool is_queued = false;  // a token chooses an expert at most once
      gate_t gate = 0;
      for (int i = 0; i < C::max_top_k; ++i) {
        const int chosen = i < k ? int(s.best_expert[row][i]) : int(kNoExpert);
        if (!is_search && chosen == expert) {
          is_queued = true;
          gate = s.gate[row][i];
        }
        if (chosen > expert && chosen < next) next = chosen;
      }
      if (is_queued) {
        s.queue_token[entries] = uint16_t(row);
        s.queue_gate[entries] = gate;
        ++entries;
      }
    }
    if (!is_search) s.queue_first[used] = uint16_t(entries);
    if (next == kNoExpert) return used;
    if (is_search) s.queue_first[0] = 0;
    is_search = false;
    experts[used++] = uint16_t(next);
    expert = next;
  }
}

}  // namespace m3vit

#endif
