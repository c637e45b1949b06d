#include "fastmrcnn/isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace fastmrcnn {
namespace {

Isa best_isa() {
#if defined(FASTMRCNN_HAS_X86_LEVELS)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512) return Isa::avx512;
  if (avx2) return Isa::avx2;
#endif
  return Isa::baseline;
}

Isa chosen_isa() {
  const Isa best = best_isa();
  const char* forced = std::getenv("FASTMRCNN_ISA");
  if (forced == nullptr || *forced == '\0') return best;
  for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
    if (std::string(forced) != name_of(isa)) continue;
    if (static_cast<int>(isa) <= static_cast<int>(best)) return isa;
    throw std::invalid_argument(std::string("FASTMRCNN_ISA=") + forced +
                                " is not available; this build and machine have " + name_of(best) + " at most");
  }
  throw std::invalid_argument(std::string("FASTMRCNN_ISA must be baseline, avx2 or avx512; got ") + forced);
}

}  // namespace

Isa active_isa() {
  static const Isa isa = chosen_isa();
  return isa;
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::baseline: return "baseline";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
  }
  return "unknown";
}

}  // namespace fastmrcnn
