#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can say, in one go, offline, in 25 minutes.
#
#   benchmarks/gpu.sh                      # results in ./gpu-results
#   OUT=/data/results benchmarks/gpu.sh
#   DEVICE=cpu QUICK=1 benchmarks/gpu.sh   # try every line on any machine
#
# A part that fails or takes too long does not stop the others; the exit status is then 1. Other
# settings: PYTHON (.venv/bin/python if it is there), WORKERS (8, of reading batches).

set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

DEVICE=${DEVICE:-cuda}
QUICK=${QUICK:-}
WORKERS=${WORKERS:-8}
OUT=${OUT:-gpu-results}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi
mkdir -p "$OUT" || exit 1
OUT=$(cd "$OUT" && pwd) || exit 1
# What is measured is this checkout, whatever is installed.
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

failed=()

# part NAME SECONDS COMMAND...: run it, keep what it prints in $OUT/NAME.txt, go on in any case.
part() {
    local name=$1 limit=$2 began=$SECONDS status
    shift 2
    printf '\n== %s: %s\n' "$name" "$*"
    timeout --kill-after=10 "$limit" "$@" 2>&1 | tee "$OUT/$name.txt"
    status=${PIPESTATUS[0]}
    case $status in
        0) printf '== %s: done in %d s\n' "$name" $((SECONDS - began)) ;;
        124 | 137) printf '== %s: STOPPED after %d s\n' "$name" "$limit" ;;
        *) printf '== %s: FAILED with exit status %d\n' "$name" "$status" ;;
    esac
    if [ "$status" -ne 0 ]; then failed+=("$name"); fi
}

versions() {
    printf 'commit %s\n' "$(git rev-parse HEAD 2>/dev/null || echo unknown)"
    uname -srm
    printf '%s processors\n' "$(nproc --all)"
    "$PYTHON" - <<'PYTHON_CODE'
import importlib.metadata as metadata
import sys

import torch

print("python", sys.version.split()[0])
print("torch", torch.__version__, "CUDA", torch.version.cuda, "there:", torch.cuda.is_available())
for number in range(torch.cuda.device_count()):
    print("GPU", number, torch.cuda.get_device_properties(number))
for name in ("torchvision", "accelerate", "numpy", "h5py", "onnxruntime", "detectron2"):
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "not installed")
PYTHON_CODE
}
export -f versions
export PYTHON

if [ -n "$QUICK" ]; then
    # 60 pictures, a few steps: only to see that every line works.
    tests=(tests/trainer/test_device.py)
    training=(--images 300 --feature-size 64 --batch-size 16 --steps 3 --words 500 --workers 1)
    coco=(--images 1000 --feature-size 64 --batch-size 16 --steps 3 --words 500 --workers 1)
    detectors=(--detector torchvision --images 2 --batch-size 1 --height 32)
    demo=(--scenes 60 --epochs 1)
else
    tests=(tests/trainer/test_device.py tests/trainer/test_loop.py tests/trainer/test_checkpoint.py
        tests/trainer/test_train.py tests/trainer/test_train_weights.py
        tests/weaksup/detectors/test_torchvision.py
        tests/weaksup/detectors/test_detectron2.py tests/weaksup/detectors/test_torchvision_features.py)
    training=(--images 20000 --steps 100 --workers "$WORKERS")
    coco=(--images 123287 --steps 300 --workers "$WORKERS")
    detectors=(--images 384 --batch-size 16)
    demo=()
fi

if [ "$DEVICE" = cuda ]; then part machine 20 nvidia-smi; fi
part versions 60 bash -c versions
part tests 210 "$PYTHON" -m pytest -q "${tests[@]}"
part training 240 "$PYTHON" -m benchmarks.training --device "$DEVICE" "${training[@]}" \
    --json "$OUT/training.json"
part detectors 200 "$PYTHON" -m benchmarks.detectors --device "$DEVICE" "${detectors[@]}" \
    --json "$OUT/detectors.json"
part coco 420 "$PYTHON" -m benchmarks.training --model a3vse --device "$DEVICE" "${coco[@]}" \
    --json "$OUT/coco.json"
# Its commands take the GPU by themselves if there is one.
rm -rf "$OUT/demo"
part demo 240 "$PYTHON" -m weaksup.cli demo --workspace "$OUT/demo" "${demo[@]}"

printf '\nresults: %s\n' "$OUT"
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'not done: %s\n' "${failed[*]}"
    exit 1
fi
