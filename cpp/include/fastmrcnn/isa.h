// Instruction sets of the CPU kernels, chosen once at run time.
//
// A hot kernel's source stands in cpp/src/kernels/ and is compiled once per level with FASTMRCNN_ISA set to the
// namespace's name and that level's compiler flags. Such a file includes no STL header and defines no inline symbol
// with external linkage: the linker keeps one copy of those, possibly the one with instructions that the machine lacks.
#pragma once

namespace fastmrcnn {

enum class Isa : int { baseline = 0, avx2 = 1, avx512 = 2 };

// The best level that this build and this machine have, or a lower one forced by the environment variable
// FASTMRCNN_ISA=baseline|avx2|avx512. Read once.
Isa active_isa();
const char* name_of(Isa isa);

// One entry per level; a level that is not built repeats the one below it.
template <class Function>
struct IsaTable {
  Function entries[3];
  Function get() const { return entries[static_cast<int>(active_isa())]; }
};

}  // namespace fastmrcnn

#if defined(FASTMRCNN_HAS_X86_LEVELS)
#define FASTMRCNN_ISA_TABLE(function)                         \
  {                                                           \
    {                                                         \
      &baseline::function, &avx2::function, &avx512::function \
    }                                                         \
  }
#else
#define FASTMRCNN_ISA_TABLE(function)                               \
  {                                                                 \
    {                                                               \
      &baseline::function, &baseline::function, &baseline::function \
    }                                                               \
  }
#endif
