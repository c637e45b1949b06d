#include "greedy_nms.h"

#include "fastmrcnn/isa.h"
#include "fastmrcnn/round_down.h"
#include "kernels/nms_kernel.h"
#include "scratch.h"

namespace fastmrcnn::cpu {
namespace {

auto kernel_for(const geometry::Box<float>*) {
  static constexpr IsaTable<decltype(&baseline::greedy_nms_f32)> table = FASTMRCNN_ISA_TABLE(greedy_nms_f32);
  return table.get();
}

auto kernel_for(const geometry::Box<double>*) {
  static constexpr IsaTable<decltype(&baseline::greedy_nms_f64)> table = FASTMRCNN_ISA_TABLE(greedy_nms_f64);
  return table.get();
}

auto next_kernel_for(const geometry::Box<float>&) {
  static constexpr IsaTable<decltype(&baseline::keep_next_f32)> table = FASTMRCNN_ISA_TABLE(keep_next_f32);
  return table.get();
}

auto next_kernel_for(const geometry::Box<double>&) {
  static constexpr IsaTable<decltype(&baseline::keep_next_f64)> table = FASTMRCNN_ISA_TABLE(keep_next_f64);
  return table.get();
}

template <class T>
std::int64_t run(const geometry::Box<T>* boxes, std::int64_t n, double iou_threshold, std::int64_t limit,
                 std::uint32_t* kept) {
  constexpr std::int64_t kFew = 64;
  Scratch<T, nms_workspace(kFew)> workspace(nms_workspace(n));
  return kernel_for(boxes)(boxes, n, round_down<T>(iou_threshold), limit, workspace.get(), kept);
}

}  // namespace

std::int64_t greedy_nms(const geometry::Box<float>* boxes, std::int64_t n, double iou_threshold, std::int64_t limit,
                        std::uint32_t* kept) {
  return run(boxes, n, iou_threshold, limit, kept);
}

std::int64_t greedy_nms(const geometry::Box<double>* boxes, std::int64_t n, double iou_threshold, std::int64_t limit,
                        std::uint32_t* kept) {
  return run(boxes, n, iou_threshold, limit, kept);
}

template <class T>
GreedyNms<T>::GreedyNms(double iou_threshold, std::int64_t capacity)
    : threshold_(round_down<T>(iou_threshold)), workspace_(new T[nms_workspace(capacity)]) {}

template <class T>
bool GreedyNms<T>::keep(const geometry::Box<T>& box) {
  return next_kernel_for(box)(box, threshold_, &filled_, workspace_.get());
}

template class GreedyNms<float>;
template class GreedyNms<double>;

}  // namespace fastmrcnn::cpu
