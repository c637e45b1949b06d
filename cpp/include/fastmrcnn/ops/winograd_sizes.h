// What the operators (winograd.h) and their kernels, which include no STL header, both know of Winograd's filtering.
#pragma once

#include <stdint.h>

namespace fastmrcnn {

constexpr int64_t kWinogradTile = 4;    // pixels along a side
constexpr int64_t kWinogradPoints = 6;  // transformed values along a side
constexpr int64_t kWinogradLanes = 16;  // channels of the widest instruction set's pack
constexpr int64_t kWinogradBlock = 32;  // output channels that are multiplied together: two such packs

}  // namespace fastmrcnn
