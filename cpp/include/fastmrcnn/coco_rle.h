// COCO's compressed run-length string, written and read run by run.
//
// Runs alternate between zeros and ones, zeros first, down the columns. From the fourth on, each count is stored as the
// difference from the count two before. A number is written in groups of five bits, least significant first, as one
// character from '0' on each; bit 0x20 says that more follow, and the last group's bit 0x10 is the sign.
#pragma once

#include <cstdint>

#include "fastmrcnn/geometry/host_device.h"

namespace fastmrcnn {

// Calls put(character) for each character of a number.
template <class Put>
FM_HD void spell_number(std::int64_t number, const Put& put) {
  for (bool more = true; more;) {
    std::int64_t group = number & 0x1f;
    number >>= 5;
    more = group & 0x10 ? number != -1 : number != 0;
    put(static_cast<std::uint8_t>((more ? group | 0x20 : group) + 48));
  }
}

// Writes into a buffer and counts on past its end, so that the caller learns the length that it takes.
class RleWriter {
 public:
  FM_HD RleWriter(std::uint8_t* characters, std::int64_t capacity) : characters_(characters), capacity_(capacity) {}

  // The mask changes between zeros and ones at `position`, counted down the columns. Positions ascend; two changes at
  // the same position cancel.
  FM_HD void toggle(std::int64_t position) {
    if (position == pending_) {
      pending_ = -1;
    } else {
      flush();
      pending_ = position;
    }
  }

  // Ends the mask after `total` pixels and returns the length of its string.
  FM_HD std::int64_t finish(std::int64_t total) {
    if (pending_ != total) flush();
    put_count(total - last_);
    return length_;
  }

 private:
  FM_HD void flush() {
    if (pending_ < 0) return;
    put_count(pending_ - last_);
    last_ = pending_;
  }

  FM_HD void put_count(std::int64_t count) {
    spell_number(runs_ > 2 ? count - before_previous_ : count, [this](std::uint8_t character) {
      if (length_ < capacity_) characters_[length_] = character;
      ++length_;
    });
    before_previous_ = previous_;
    previous_ = count;
    ++runs_;
  }

  std::uint8_t* characters_;
  std::int64_t capacity_;
  std::int64_t length_ = 0;
  std::int64_t pending_ = -1;
  std::int64_t last_ = 0;
  std::int64_t runs_ = 0;
  std::int64_t previous_ = 0, before_previous_ = 0;
};

// Reads the runs of a string that anybody may have written: stops at the end, or where the string is damaged.
class RleReader {
 public:
  FM_HD RleReader(const std::uint8_t* characters, const std::uint8_t* end) : next_(characters), end_(end) {}

  // False at the end. A run that does not fit 34 bits, of which no image has one, counts as damage.
  FM_HD bool next(std::int64_t* run) {
    if (next_ == end_) return false;
    std::int64_t number = 0;
    for (int shift = 0;; shift += 5) {
      const int code = next_ == end_ || shift > kLargestShift ? -1 : *next_++ - 48;
      if (code < 0 || code > 63) {
        damaged_ = true;
        return false;
      }
      number |= static_cast<std::int64_t>(code & 0x1f) << shift;
      if (code & 0x20) continue;
      if (code & 0x10) number -= std::int64_t{1} << (shift + 5);
      break;
    }
    *run = runs_ > 2 ? number + before_previous_ : number;
    before_previous_ = previous_;
    previous_ = *run;
    ++runs_;
    return true;
  }

  FM_HD bool damaged() const { return damaged_; }

 private:
  static constexpr int kLargestShift = 30;

  const std::uint8_t *next_, *end_;
  bool damaged_ = false;
  std::int64_t runs_ = 0;
  std::int64_t previous_ = 0, before_previous_ = 0;
};

}  // namespace fastmrcnn
