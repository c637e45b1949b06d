// The candidates of one image and pyramid level on their way to NMS.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "decode_dispatch.h"
#include "fastmrcnn/geometry/box_coding.h"
#include "fastmrcnn/tensor.h"
#include "float_format.h"
#include "leading_logits.h"

namespace fastmrcnn::cpu {

// Decodes single anchors out of the head's output in any memory layout.
template <class Storage>
class AnchorDecoder {
  using T = Accumulator<Storage>;

 public:
  // deltas [B, A * 4, H, W], anchors [H * W * A, 4]
  AnchorDecoder(const TensorView& deltas, const TensorView& anchors, std::int64_t image,
                const DecodeParameters<T>& parameters)
      : deltas_(deltas.as<const Storage>() + image * deltas.strides[0]),
        channel_stride_(deltas.strides[1]),
        row_stride_(deltas.strides[2]),
        column_stride_(deltas.strides[3]),
        per_cell_(static_cast<std::uint32_t>(deltas.shape[1] / 4)),
        columns_(static_cast<std::uint32_t>(deltas.shape[3])),
        anchors_(anchors.as<const geometry::Box<T>>()),
        parameters_(parameters) {}

  geometry::Deltas<T> deltas(std::uint32_t anchor) const {
    const std::uint32_t cell = anchor / per_cell_, channel = 4 * (anchor % per_cell_);
    const Storage* delta =
        deltas_ + channel * channel_stride_ + cell / columns_ * row_stride_ + cell % columns_ * column_stride_;
    return {value_of(delta[0]), value_of(delta[channel_stride_]), value_of(delta[2 * channel_stride_]),
            value_of(delta[3 * channel_stride_])};
  }

  const geometry::Box<T>& anchor(std::uint32_t index) const { return anchors_[index]; }

  void decode(const geometry::Deltas<T>* deltas, const geometry::Box<T>* anchors, std::int64_t count,
              geometry::Box<T>* boxes) const {
    cpu::decode(deltas, anchors, count, 1, parameters_, boxes);
  }

 private:
  const Storage* deltas_;
  std::int64_t channel_stride_, row_stride_, column_stride_;
  std::uint32_t per_cell_, columns_;
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
