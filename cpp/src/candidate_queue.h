// The candidates of one image and pyramid level on their way to NMS.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "decode_dispatch.h"
#include "fastmrcnn/float_format.h"
#include "fastmrcnn/geometry/box_coding.h"
#include "fastmrcnn/head_maps.h"
#include "leading_logits.h"

namespace fastmrcnn::cpu {

// Decodes single anchors of an image out of the head's output.
template <class Storage>
class AnchorDecoder {
  using T = Accumulator<Storage>;

 public:
  // anchors [H * W * A, 4]
  AnchorDecoder(const DeltaMap<Storage>& deltas, const TensorView& anchors, const DecodeParameters<T>& parameters)
      : deltas_(deltas), anchors_(anchors.as<const geometry::Box<T>>()), parameters_(parameters) {}

  geometry::Deltas<T> deltas(std::uint32_t anchor) const { return deltas_.at(anchor); }

  const geometry::Box<T>& anchor(std::uint32_t index) const { return anchors_[index]; }

  void decode(const geometry::Deltas<T>* deltas, const geometry::Box<T>* anchors, std::int64_t count,
              geometry::Box<T>* boxes) const {
    cpu::decode(deltas, anchors, count, 1, parameters_, boxes);
  }

 private:
  DeltaMap<Storage> deltas_;
  const geometry::Box<T>* anchors_;
  DecodeParameters<T> parameters_;
};

// Candidates in descending order of logit, decoded a block at a time, since most are never asked for.
template <class Storage>
class CandidateQueue {
  using T = Accumulator<Storage>;
  using Bits = typename FloatFormat<Storage>::Bits;

 public:
  CandidateQueue(const std::vector<Ranked<Bits>>& candidates, const AnchorDecoder<Storage>& decoder)
      : decoder_(decoder), next_(candidates.data()), end_(next_ + candidates.size()), decoded_end_(next_) {}

  bool empty() const { return next_ == end_; }

  // Of the next logit, in geometry::FloatOrder.
  Bits key() const { return static_cast<Bits>(key_of(*next_)); }

  geometry::Box<T> pop() {
    if (next_ == decoded_end_) decode_block();
    return boxes_[next_++ - decoded_begin_];
  }

 private:
  static constexpr std::int64_t kBlock = 64;

  void decode_block() {
    const std::int64_t count = std::min<std::int64_t>(kBlock, end_ - next_);
    geometry::Deltas<T> deltas[kBlock];
    geometry::Box<T> anchors[kBlock];
    for (std::int64_t n = 0; n < count; ++n) {
      const std::uint32_t anchor = index_of(next_[n]);
      deltas[n] = decoder_.deltas(anchor);
      anchors[n] = decoder_.anchor(anchor);
    }
    decoder_.decode(deltas, anchors, count, boxes_);
    decoded_begin_ = next_;
    decoded_end_ = next_ + count;
  }

  AnchorDecoder<Storage> decoder_;
  const Ranked<Bits>* next_;
  const Ranked<Bits>* end_;
  const Ranked<Bits>* decoded_begin_ = nullptr;  // boxes_ holds those from here
  const Ranked<Bits>* decoded_end_;
  geometry::Box<T> boxes_[kBlock];
};

}  // namespace fastmrcnn::cpu
