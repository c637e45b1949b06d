// Included by the headers of the kernels that are compiled once per instruction set.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Declares a kernel at every level.
#define FASTMRCNN_DECLARE_KERNEL(...) \
  namespace baseline {                \
  __VA_ARGS__;                        \
  }                                   \
  namespace avx2 {                    \
  __VA_ARGS__;                        \
  }                                   \
  namespace avx512 {                  \
  __VA_ARGS__;                        \
  }
