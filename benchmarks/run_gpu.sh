#!/usr/bin/env bash
# Everything that a machine with a GPU must do, in under ten minutes and without a network: build with its own Python,
# torch and nvcc, run the CUDA tests, compute-sanitizer on a short list of cases, and the benchmarks.
#
#   benchmarks/run_gpu.sh [FOLDER]     results go to FOLDER, or to $OUT, or to build/gpu
#
# WHEELS=FOLDER installs Python packages that the machine lacks (pycocotools, hypothesis...) from there.
# Every step runs whatever the ones before it did; the exit status says whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-${OUT:-build/gpu}}")
python=${PYTHON:-python3}
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec > >(tee "$out/log.txt") 2>&1
failed=()

step() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS
  shift 2
  printf '\n=== %s (at %ss)\n' "$name" "$SECONDS"
  if timeout --kill-after=10 "$limit" "$@"; then
    printf -- '--- %s: ok, %ss\n' "$name" $((SECONDS - start))
  else
    printf -- '--- %s: FAILED (%s), %ss\n' "$name" $? $((SECONDS - start))
    failed+=("$name")
  fi
}

install() {
  local pip=("$python" -m pip --disable-pip-version-check --quiet install --no-deps --target "$work/site")
  if [ -n "${WHEELS:-}" ]; then "${pip[@]}" --no-index "$WHEELS"/*.whl || return; fi
  CMAKE_ARGS="-DFASTMRCNN_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native -DCMAKE_CUDA_FLAGS=-lineinfo" \
    "${pip[@]}" --no-build-isolation --no-index .
}

sanitize() { # TOOL
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 5 \
    --kernel-name kernel_substring=fastmrcnn "$python" -m tests.cuda.every_op
}

describe() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv
  nvcc --version | tail -1
  "$python" -m fastmrcnn
}

export PYTHONPATH="$work/site" PYTHONDONTWRITEBYTECODE=1 FASTMRCNN_INTERPRETED=OFF
step "build and install" 200 install
step "environment" 60 describe
step "CUDA tests" 120 "$python" -m pytest -q -p no:cacheprovider --maxfail=25 tests/cuda tests/models/test_gpu.py
for tool in memcheck racecheck initcheck synccheck; do step "compute-sanitizer $tool" 45 sanitize "$tool"; done
step "benchmarks" 200 "$python" -m benchmarks.gpu --json "$out/gpu.json"

printf '\n=== done in %ss: %s\n' "$SECONDS" "${failed[*]:-all steps passed}"
[ ${#failed[@]} = 0 ]
