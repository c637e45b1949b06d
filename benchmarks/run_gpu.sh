#!/usr/bin/env bash
# Everything that a machine with a GPU must do, in under ten minutes and without a network: build with its own Python,
# torch and nvcc, run the CUDA tests, compute-sanitizer on a short list of cases, and the benchmarks.
#
#   benchmarks/run_gpu.sh [FOLDER]     results go to FOLDER, or to $OUT, or to build/gpu
#
# WHEELS=FOLDER installs Python packages that the machine lacks (pycocotools, hypothesis...) from there.
# COMMIT=HASH is what the results name where this is a copy without its git folder.
# Every step runs whatever the ones before it did; the exit status says whether all passed.
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "${1:-${OUT:-build/gpu}}")
budget=${BUDGET:-585} # seconds, of all steps together
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"
exec > >(tee "$out/log.txt") 2>&1
command -v nvcc > /dev/null || PATH=$PATH:/usr/local/cuda/bin
failed=()

step() { # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$SECONDS status
  shift 2
  ((limit > budget - start)) && limit=$((budget - start))
  ((limit < 1)) && limit=1
  printf '\n=== %s (at %ss)\n' "$name" "$start"
  timeout --kill-after=5 "$limit" bash -c '"$@"' bash "$@" # a shell, for timeout knows no functions
  status=$?
  if [ $status = 0 ]; then
    printf -- '--- %s: ok, %ss\n' "$name" $((SECONDS - start))
  else
    printf -- '--- %s: FAILED (%s), %ss\n' "$name" $status $((SECONDS - start))
    failed+=("$name")
  fi
}

install() {
  local pip=("$python" -m pip --disable-pip-version-check --quiet install --no-deps --target "$work/site")
  if [ -n "${WHEELS:-}" ]; then "${pip[@]}" --no-index "$WHEELS"/*.whl || return; fi
  CMAKE_ARGS="-DFASTMRCNN_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=native -DCMAKE_CUDA_FLAGS=-lineinfo" \
    "${pip[@]}" --no-build-isolation --no-index .
}

describe() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv &&
    nvcc --version | tail -1 &&
    "$python" -m fastmrcnn
}

run_tests() {
  local parallel=()
  if "$python" -c 'import xdist' 2> /dev/null; then parallel=(-n 6); fi
  # pytest-benchmark, where it is, warns of xdist; warnings are errors.
  "$python" -m pytest -q -p no:cacheprovider -p no:benchmark --maxfail=25 "${parallel[@]}" tests/cuda \
    tests/models/test_fixed_capacity.py tests/models/test_no_waiting.py
}

sanitize() { # all tools at once: each spends most of its time on a processor
  local tool status=0
  declare -A running
  for tool in memcheck racecheck initcheck synccheck; do
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $tool --error-exitcode 9 --print-limit 5 \
      --kernel-name kernel_substring=fastmrcnn "$python" -m tests.cuda.every_op > "$out/$tool.txt" 2>&1 &
    running[$tool]=$!
  done
  for tool in "${!running[@]}"; do
    if wait "${running[$tool]}"; then
      echo "$tool: ok"
    else
      status=$?
      echo "$tool: FAILED ($status)"
      tail -n 40 "$out/$tool.txt"
    fi
  done
  return $status
}

export python=${PYTHON:-python3} out work
export PYTHONPATH="$work/site" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 FASTMRCNN_INTERPRETED=OFF
export -f install describe run_tests sanitize
step "build and install" 200 install
step "environment" 30 describe
step "CUDA tests" 120 run_tests
step "compute-sanitizer" 120 sanitize
step "benchmarks" 300 "$python" -m benchmarks.gpu --json "$out/gpu.json"

printf '\n=== done in %ss: %s\n' "$SECONDS" "${failed[*]:-all steps passed}"
[ ${#failed[@]} = 0 ]
