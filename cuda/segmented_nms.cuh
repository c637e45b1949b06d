// Greedy suppression on the device, of many independent sets of boxes at once: what NMS, the RPN's post-processing and
// the box head's share.
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/box.h"
#include "fastmrcnn/tensor.h"
#include "workspace.cuh"

namespace fastmrcnn::cuda {

// Where the boxes of each set lie among `places` places. A segment is a run of places whose first ones hold boxes, in
// descending order of score. How many they are is read on the device; the host knows only the room.
struct Segments {
  std::int64_t places;  // of all segments, < 2^31
  std::int64_t room;    // at most this many boxes in a segment, < 2^31

  // Either segments of `room` places each, the last one shorter where they do not divide `places`:
  const std::int32_t* counts = nullptr;  // device [segments], the boxes of each; null: every place holds one
  // or segments of any size, every place taken:
  const std::int32_t* begins = nullptr;  // device [places], the first place of the segment of each

#if defined(__CUDACC__)
  __device__ bool holds_box(std::int64_t place) const {
    return place < places && (counts == nullptr || in_segment(place) < counts[segment_of(place)]);
  }
  __device__ std::int64_t begin_of(std::int64_t place) const {
    return begins != nullptr ? begins[place] : place - in_segment(place);
  }

 private:
  // Divisions of 64 bits would take longer than all else between two words of a chain.
  __device__ std::uint32_t segment_of(std::int64_t place) const {
    return static_cast<std::uint32_t>(place) / static_cast<std::uint32_t>(room);
  }
  __device__ std::int32_t in_segment(std::int64_t place) const {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(place) % static_cast<std::uint32_t>(room));
  }
#endif
};

// What the launches share: 8 bytes for each word of 64 places of room, at most 512, for every place.
struct SuppressionMemory {
  SuppressionMemory(Workspace& workspace, std::int64_t places, std::int64_t room);

  int reach;  // words of overlaps of each box
  unsigned long long *overlaps, *dropped;
  std::int64_t* counts;
};

// A box is kept unless its IoU with one kept before it in its segment is strictly greater than `iou_threshold`; boxes
// of zero area and boxes that hold a NaN always are. The decisions are those of cpu::greedy_nms. Of each segment the
// first `limit` kept boxes count, the others are dropped.
//
// boxes [places]: what lies at places without a box is not read. keep [places]: 1 for a kept box, else 0. For float and
// double.
template <class T>
void segmented_nms(const char* op, const Context& context, const geometry::Box<T>* boxes, const Segments& segments,
                   double iou_threshold, std::int64_t limit, const SuppressionMemory& memory, std::uint8_t* keep);

}  // namespace fastmrcnn::cuda
