"""Time and memory of ranking 5,000 images against 25,000 captions, in both directions.

    python -m benchmarks.ranking [--width 512 --width 1024]

Ours counts in tiles; the naive way holds the whole score matrix and sorts it. Each runs in a
process of its own, so that its peak memory is its own, and both must give the same ranks.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import time

import numpy as np

from trainer.ranking import Ranks, rank_embeddings
from weaksup.types import Float32, Int64

IMAGES, CAPTIONS_AN_IMAGE = 5000, 5
METHODS = ("tiles", "naive")


def gallery(width: int) -> tuple[Float32, Float32, Int64]:
    """Unit vectors: (5000, width) images, (25000, width) captions near theirs, their images."""
    generator = np.random.default_rng(0)
    images = generator.standard_normal((IMAGES, width), dtype=np.float32)
    owner = np.repeat(np.arange(IMAGES), CAPTIONS_AN_IMAGE)
    texts = 4 * generator.standard_normal((len(owner), width), dtype=np.float32)
    texts += images[owner]
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return images, texts, owner


def rank_naively(images: Float32, texts: Float32, owner: Int64) -> Ranks:
    """Sort every row and every column of the whole matrix; ties in any order."""
    scores = images @ texts.T
    order = np.argsort(-scores, axis=1)
    image_to_text = (owner[order] == np.arange(len(images))[:, None]).argmax(axis=1) + 1
    order = np.argsort(-scores.T, axis=1)
    text_to_image = (order == owner[:, None]).argmax(axis=1) + 1
    return Ranks(image_to_text, text_to_image, owner)


def peak_memory() -> float:
    """Largest resident size of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(method: str, width: int) -> dict[str, float | str]:
    data = gallery(width)
    start, start_cpu = time.perf_counter(), time.process_time()
    ranks = rank_embeddings(*data) if method == "tiles" else rank_naively(*data)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    digest = hashlib.sha256(ranks.image_to_text.tobytes() + ranks.text_to_image.tobytes())
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "megabytes": peak_memory(),
        "ranks": digest.hexdigest()[:12],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--width", type=int, action="append", help="embedding width, repeatable")
    parser.add_argument("--only", choices=METHODS, help="measure in this process, print JSON")
    arguments = parser.parse_args()
    widths = arguments.width or [512, 1024]
    if arguments.only:
        print(json.dumps(measure(arguments.only, widths[0])))
        return
    print(f"{IMAGES} images, {IMAGES * CAPTIONS_AN_IMAGE} captions, both directions")
    print("width  method  seconds  CPU s  peak MB  ranks")
    for width in widths:
        for method in METHODS:
            command = [sys.executable, "-m", "benchmarks.ranking"]
            command += ["--only", method, "--width", str(width)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = json.loads(output)
            print(
                f"{width:5}  {method:6}  {found['seconds']:7.2f}  {found['cpu_seconds']:5.1f}  "
                f"{found['megabytes']:7.0f}  {found['ranks']}"
            )


if __name__ == "__main__":
    main()
