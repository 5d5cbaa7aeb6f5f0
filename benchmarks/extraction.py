"""Throughput of ``weaksup extract`` against the bare ONNX session on the same images.

The bare session runs on pictures that were prepared beforehand, with ONNX Runtime's default options
(as many threads as it likes). Ours decodes, prepares, detects, suppresses, pools features, names
attributes and writes the store. Both are measured in turns in one process, so that what else the
machine does falls on both::

    python -m benchmarks.extraction ../shared/flickr8k/images ../shared/models/yolox_nano.onnx
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import onnxruntime

from weaksup.detectors.build import DetectorOptions, build_detector, build_feature_model
from weaksup.detectors.description import DetectorDescription
from weaksup.detectors.onnx_presets import describe
from weaksup.detectors.onnx_session import OnnxFile
from weaksup.detectors.preprocess import network_input
from weaksup.extract import extract
from weaksup.images import decode, list_images

CHUNK = 100  # pictures that are prepared for the bare session at a time: two megabytes each


def run_bare(
    session: onnxruntime.InferenceSession,
    images: list[tuple[str, Path]],
    description: DetectorDescription,
) -> float:
    """Seconds that the session takes for the pictures, their preparation not counted."""
    name = session.get_inputs()[0].name
    seconds = 0.0
    for start in range(0, len(images), CHUNK):
        part = images[start : start + CHUNK]
        arrays = [network_input(decode(path)[0], description.recipe) for _, path in part]
        began = time.perf_counter()
        for array in arrays:
            session.run(None, {name: array})
        seconds += time.perf_counter() - began
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("weights", type=Path, help="ONNX detector")
    parser.add_argument("--feature-model", help="ONNX file or torchvision backbone")
    parser.add_argument("--count", type=int, help="images (all)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, each on its own images (1)")
    parser.add_argument("--workers", type=int, help="threads (one more than processors)")
    arguments = parser.parse_args()

    images = list_images([arguments.images])
    if arguments.count:
        images = images[:: max(1, len(images) // arguments.count)][: arguments.count]
    options = DetectorOptions(
        weights=str(arguments.weights), with_features=arguments.feature_model is None, device="cpu"
    )
    detector = build_detector("onnx", options)
    features = None
    if arguments.feature_model is not None:
        features = build_feature_model(arguments.feature_model, size=448, device="cpu")
    session = onnxruntime.InferenceSession(
        str(arguments.weights), providers=["CPUExecutionProvider"]
    )
    description = describe(OnnxFile(arguments.weights))
    run_bare(session, images[:20], description)

    bare, ours = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.rounds + 1):
            part = images[:20] if number == 0 else images[number - 1 :: arguments.rounds]
            # The bare session runs on half of the images before and on half after: what else the
            # machine does changes slowly.
            seconds_bare = run_bare(session, part[::2], description)
            began = time.perf_counter()
            extract(
                part,
                detector=detector,
                feature_model=features,
                out=Path(folder, f"{number}.h5"),
                concepts=Path(folder, f"{number}.json"),
                workers=arguments.workers,
            )
            seconds = time.perf_counter() - began
            if number == 0:  # what is loaded once: word lists, code
                print(f"first call, 20 images: {seconds:.1f} s")
                continue
            ours.append(len(part) / seconds)
            seconds_bare += run_bare(session, part[1::2], description)
            bare.append(len(part) / seconds_bare)
            print(f"round {number}: bare {bare[-1]:.1f}, ours {ours[-1]:.1f} images/s")
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_bytes = peak if sys.platform == "darwin" else peak * 1024
    print(f"images: {len(images)}, median of {arguments.rounds} rounds")
    print(f"bare session: {statistics.median(bare):.1f} images/s")
    print(f"weaksup extract: {statistics.median(ours):.1f} images/s")
    print(f"ratio: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")
    print(f"peak memory, both together: {peak_bytes / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
