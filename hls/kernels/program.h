// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: 2026 The m3vit authors

/// Macro-operations: their decoding and the checks before anything runs. The same rules in words: sim/program_check.py;
/// in RTL: m3vit_op_check.sv and m3vit_read_check.sv. Besides, a packed expert must fit the weight buffer here.
#ifndef M3VIT_PROGRAM_H_
#define M3VIT_PROGRAM_H_

#include "memory.h"

namespace m3vit {

/// One macro-operation (sim/program.py).
struct Op {
  uint8_t opcode, flags, top_k, version;
  uint16_t rows, heads, in_features, out_features, experts;
  uint32_t weights, table, expert_base, expert_stride;
  uint32_t operands[kOperands];
  bool sealed;  ///< the checksum is right
};

/// An operation from its 64 bytes.
inline Op decode(const DramWord& bytes) {
  uint32_t word[16], check = kCheckWord;
  for (int i = 0; i < 16; ++i) {
#pragma HLS UNROLL
    word[i] = 0;
    for (int b = 0; b < 4; ++b) word[i] |= uint32_t(uint8_t(bytes.byte[4 * i + b])) << (8 * b);
    check ^= word[i];
  }
  Op op;
  op.opcode = word[0] & 0xFF;
  op.flags = word[0] >> 8 & 0xFF;
  op.top_k = word[0] >> 16 & 0xFF;
  op.version = word[0] >> 24;
  op.rows = word[1] & 0xFFFF;
  op.heads = word[1] >> 16;
  op.in_features = word[2] & 0xFFFF;
  op.out_features = word[2] >> 16;
  op.experts = word[3] & 0xFFFF;
  op.weights = word[4];
  op.table = word[5];
  op.expert_base = word[6];
  op.expert_stride = word[7];
  for (int i = 0; i < kOperands; ++i) op.operands[i] = word[8 + i];
  op.sealed = check == 0;
  return op;
}

/// Whether the experts have 4-bit weights.
inline bool has_nibbles(const Op& op) { return (op.flags & kExperts4bit) != 0; }

/// Words of a packed linear layer, with 4-bit weights if `nibbles` (sim/layout.py stream_words).
template <class C>
uint32_t layer_words(const int out_features, const int in_features, const bool nibbles = false) {
  const uint32_t weights = ceil_div(in_features, C::inputs) * C::lanes;
  return uint32_t(ceil_div(out_features, C::lanes)) * (Sizes<C>::record_words + (nibbles ? weights / 2 : weights));
}

/// Words of a packed expert, or of a slice of a dense MLP: fc1 directly followed by fc2.
template <class C>
uint32_t expert_words(const Op& op) {
  const bool nibbles = has_nibbles(op);
  return layer_words<C>(op.out_features, op.in_features, nibbles)
         + layer_words<C>(op.in_features, op.out_features, nibbles);
}

inline bool is_multiple(const uint32_t size, const uint32_t unit, const uint32_t limit) {
  return size != 0 && size <= limit && size % unit == 0;
}

/// What the checks of an operation know of those before it.
struct Context {
  bool is_first, is_last;
  uint16_t rows, dim;  ///< of the residual stream, unless is_first
  Op before;
};

/// Whether an operation may stand where it does.
inline bool in_order(const Op& op, const Context& context) {
  if (context.is_last != (op.opcode == kStore)) return false;
  if (context.is_first) return op.opcode == kPatchEmbed || op.opcode == kLoad;
  switch (context.before.opcode) {
    case kLayerNorm: return op.opcode == kLinear || op.opcode == kMlp || op.opcode == kMoe || op.opcode == kHead;
    case kLinear: return op.opcode == kAttention;
    case kAttention: return op.opcode == kLinearResidual;
    case kHead: return op.opcode == kStore;
    case kStore: return false;
    default: return op.opcode == kLayerNorm || op.opcode == kStore;
  }
}

template <class C>
bool image_fits(const Op& op) {
  const uint64_t patch = op.operands[0], height = op.operands[1], width = op.operands[2], columns = op.operands[3],
                 column_patches = op.operands[4];
  if (!is_multiple(op.operands[0], 8, 255) || height > 65535 || width > 65535) return false;
  return patch * columns == width && patch * column_patches == height && 3 * patch * patch == op.in_features
         && columns * column_patches + 1 == op.rows
         && is_multiple(op.in_features, kUnitBytes, Sizes<C>::key_units * kUnitBytes);
}

template <class C>
bool heads_fit(const Op& op, const uint32_t channels, const uint32_t dim) {
  const uint32_t words = channels == kUnitBytes ? ceil_div(op.heads, Sizes<C>::groups) : op.heads;
  return is_multiple(channels, kUnitBytes, C::inputs) && channels < 16 * C::lanes && channels * op.heads == dim
         && words * Sizes<C>::groups <= uint32_t(Sizes<C>::hidden_units);
}

template <class C>
bool attention_fits(const Op& op, const Context& context) {
  return heads_fit<C>(op, op.operands[4], context.dim) && op.heads == context.before.heads
         && op.operands[4] == context.before.operands[0] && op.operands[0] < 32 && op.operands[1] < 65536
         && op.operands[2] < 48 && op.operands[3] != 0 && op.operands[3] <= uint32_t(C::max_block)
         && op.in_features == context.before.out_features && op.out_features == context.dim;
}

/// Whether the sizes of an operation fit the hardware, each other and the operations before, and its flags are known.
template <class C>
bool sizes_fit(const Op& op, const Context& context) {
  const bool rows = op.rows > 1 && op.rows <= C::max_tokens && (context.is_first || op.rows == context.rows);
  const bool dim =
      is_multiple(op.in_features, kUnitBytes, C::max_dim) && (context.is_first || op.in_features == context.dim);
  const bool hidden = is_multiple(op.out_features, C::inputs, C::max_hidden) && op.experts != 0
                      && op.experts <= kMaxExperts && expert_words<C>(op) <= uint32_t(C::stream_words);
  const bool after_head = context.before.opcode == kHead;
  if ((op.flags & ~(op.opcode == kMoe ? kRenormalise | kExperts4bit : 0)) != 0) return false;
  switch (op.opcode) {
    case kPatchEmbed: return rows && image_fits<C>(op) && is_multiple(op.out_features, kUnitBytes, C::max_dim);
    case kLoad:
    case kLayerNorm: return rows && dim;
    case kLinear:
      return rows && dim && heads_fit<C>(op, op.operands[0], context.dim) && op.out_features == 3 * context.dim;
    case kAttention: return rows && attention_fits<C>(op, context);
    case kLinearResidual: return rows && dim && op.out_features == context.dim;
    case kMlp: return rows && dim && hidden;
    case kMoe: return rows && dim && hidden && op.top_k != 0 && op.top_k <= C::max_top_k && op.top_k <= op.experts;
    case kHead: return rows && dim && op.out_features != 0 && op.out_features <= C::max_dim;
    default:
      return op.rows == context.rows - (after_head ? 1 : 0)
             && op.out_features == (after_head ? context.before.out_features : context.dim);
  }
}

/// Whether a range that an operation reads is aligned and lies inside the image.
inline bool inside(const uint64_t offset, const uint64_t words, const uint32_t memory_bytes) {
  return offset % kWordBytes == 0 && offset + words * kWordBytes <= memory_bytes;
}

/// Whether everything that an operation reads lies inside the memory image.
template <class C>
bool addresses_fit(const Op& op, const uint32_t memory_bytes) {
  const auto layer = [&](const uint32_t offset, const int out_features) {
    return inside(offset, dram_words<C>(layer_words<C>(out_features, op.in_features)), memory_bytes);
  };
  const auto table = [&](const uint32_t bytes) {
    return inside(op.table, dram_words<C>(ceil_div(bytes, C::inputs)), memory_bytes);
  };
  const uint64_t last_expert = op.expert_base + uint64_t(op.experts - 1) * op.expert_stride;
  switch (op.opcode) {
    case kMoe:
    case kMlp:
      return table(1 << kGeluIndexBits) && (op.opcode == kMlp || layer(op.weights, op.experts))
             && op.expert_stride % kWordBytes == 0 && inside(op.expert_base, 0, memory_bytes)
             && inside(last_expert, dram_words<C>(expert_words<C>(op)), memory_bytes);
    case kPatchEmbed:
      return inside(op.table, ceil_div(2 * op.rows * op.out_features, kWordBytes), memory_bytes)
             && layer(op.weights, op.out_features);
    case kLayerNorm: return table(op.in_features);
    case kLinear:
    case kLinearResidual:
    case kHead: return layer(op.weights, op.out_features);
    default: return true;
  }
}

/// Reads a program and finds its first error. Nothing may run before it is right.
/// \tparam C      hardware config
/// \param  count  operations, 1..kMaxOps
/// \param  ops    the decoded operations
template <class C>
Error read_program(hls::stream<DramWord>& words, const int count, const uint32_t memory_bytes, Op ops[kMaxOps]) {
  Error error = Error::kNone;
  Context context{};
program:
  for (int i = 0; i < count; ++i) {
    const Op op = decode(words.read());
    context.is_first = i == 0;
    context.is_last = i == count - 1;
    Error verdict = Error::kNone;
    if (!op.sealed || op.version != kProgramVersion) verdict = Error::kOperation;
    else if (op.opcode < kFirstOpcode || op.opcode > kLastOpcode) verdict = Error::kUnsupported;
    else if (!in_order(op, context)) verdict = Error::kOperation;
    else if (!sizes_fit<C>(op, context)) verdict = Error::kShape;
    else if (!addresses_fit<C>(op, memory_bytes)) verdict = Error::kAddress;
    if (error == Error::kNone) error = verdict;
    if (i == 0) {
      context.rows = op.rows;
      context.dim = op.opcode == kLoad ? op.in_features : op.out_features;
    }
    context.before = op;
    ops[i] = op;
  }
  return error;
}

}  // namespace m3vit

#endif
