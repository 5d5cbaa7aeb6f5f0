"""Throughput of ``weaksup extract`` with torch detectors against the detectors' own bare loops.

    python -m benchmarks.detectors --device cpu --images 8

- torchvision: Faster R-CNN R50-FPN. The bare loop calls the model on the same batches of pictures
  that were decoded to tensors beforehand, in the same precision.
- detectron2, where it is installed: R50-FPN of its model zoo. The bare loop calls its own
  ``DefaultPredictor`` picture by picture, as its makers do; ours takes batches.

Ours decodes, detects, pools a feature of every region, names attributes and writes the store.
Weights are random (benchmarks/untrained.py), pictures are generated. Half of the bare loop's
pictures are timed before ours and half after: what else the machine does falls on both.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.untrained import (
    DETECTRON2,
    SCORE_THRESHOLD,
    save_detectron2,
    save_torchvision,
    write_pictures,
)
from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.detectors.torch_device import resolve_device, resolve_precision
from weaksup.detectors.torchvision_weights import model_from_file
from weaksup.extract import extract
from weaksup.images import decode, list_images
from weaksup.types import UInt8

NAMES = ("torchvision", "detectron2")
MAX_REGIONS = 36

# Pictures (H, W, 3) uint8 -> how many boxes were found.
Bare = Callable[[Sequence[UInt8]], int]


def bare_torchvision(path: Path, labels: Sequence[str], device: torch.device, batch: int) -> Bare:
    """The model on batches of tensors; decoding them is not part of it."""
    model: Any = model_from_file(path, labels=labels).model.eval().to(device)
    model.roi_heads.score_thresh = SCORE_THRESHOLD
    model.roi_heads.detections_per_img = MAX_REGIONS

    def run(pictures: Sequence[UInt8]) -> int:
        boxes = 0
        for start in range(0, len(pictures), batch):
            part = [
                torch.from_numpy(pixels).to(device).permute(2, 0, 1).float() / 255
                for pixels in pictures[start : start + batch]
            ]
            boxes += sum(len(found["boxes"].cpu()) for found in model(part))
        return boxes

    return run


def bare_detectron2(path: Path, device: torch.device) -> Bare:
    """Detectron2's own predictor, picture by picture."""
    from detectron2.config import get_cfg
    from detectron2.engine import DefaultPredictor
    from detectron2.model_zoo import get_config_file

    config = get_cfg()
    config.merge_from_file(get_config_file(DETECTRON2))
    config.MODEL.WEIGHTS = str(path)
    config.MODEL.DEVICE = device.type
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = SCORE_THRESHOLD
    config.TEST.DETECTIONS_PER_IMAGE = MAX_REGIONS
    predictor = DefaultPredictor(config)

    def run(pictures: Sequence[UInt8]) -> int:
        return sum(len(predictor(pixels[:, :, ::-1])["instances"].to("cpu")) for pixels in pictures)

    return run


def measure(name: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Images a second of both, and their ratio."""
    device = resolve_device(given.device)
    dtype = resolve_precision(given.precision, device=device)
    weights = folder / f"{name}.pth"
    images = list_images([folder / "pictures"])
    if name == "torchvision":
        labels = save_torchvision(weights, height=given.height)
        bare = bare_torchvision(weights, labels, device, given.batch_size)
        options = {"weights": str(weights), "labels": labels}
    else:
        save_detectron2(weights, height=given.height)
        bare = bare_detectron2(weights, device)
        options = {"weights": f"{DETECTRON2},{weights}"}
    detector = build_detector(
        name,
        DetectorOptions(
            **options,
            score_threshold=SCORE_THRESHOLD,
            max_regions=MAX_REGIONS,
            device=given.device,
            precision=given.precision,
        ),
    )

    def ours(part: Sequence[tuple[str, Path]], label: str) -> tuple[float, int]:
        began = time.perf_counter()
        report = extract(
            part,
            detector=detector,
            out=folder / f"{name}-{label}.h5",
            concepts=folder / f"{name}-{label}.json",
            batch_size=given.batch_size,
            workers=given.workers,
        )
        return time.perf_counter() - began, report.regions - report.images

    def theirs(part: Sequence[tuple[str, Path]]) -> tuple[float, int]:
        pictures = [decode(path)[0].copy() for _, path in part]
        began = time.perf_counter()
        with (
            torch.no_grad(),
            torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32),
        ):
            boxes = bare(pictures)
        return time.perf_counter() - began, boxes

    few = images[: given.batch_size]
    theirs(few), ours(few, "first")  # code and word lists are loaded, kernels chosen
    before, boxes_before = theirs(images[: len(images) // 2])
    seconds, boxes = ours(images, "whole")
    after, boxes_after = theirs(images[len(images) // 2 :])
    bare_seconds = before + after
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "precision": str(dtype).removeprefix("torch."),
        "bare": len(images) / bare_seconds,
        "ours": len(images) / seconds,
        "ratio": bare_seconds / seconds,
        "bare boxes": (boxes_before + boxes_after) / len(images),
        "boxes": boxes / len(images),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--detector", action="append", choices=NAMES, help="repeatable (all that are here)")
    add("--images", type=int, default=8, help="pictures (8)")
    add("--height", type=int, default=480, help="of pictures 640 wide, a multiple of 32 (480)")
    add("--batch-size", type=int, default=4, help="pictures a batch (4)")
    add("--device", default="auto", help="auto, cpu, cuda (auto)")
    add("--precision", default="auto", help="auto, fp32, bf16, fp16 (auto)")
    add("--workers", type=int, help="threads of ours (one more than processors)")
    add("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    names = given.detector or [
        name for name in NAMES if name == "torchvision" or importlib.util.find_spec(name)
    ]
    # Detectron2 warns of what it does itself.
    warnings.filterwarnings("ignore", module=r"(detectron2|fvcore|torch)\..*")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        write_pictures(pictures, count=given.images, height=given.height)
        for name in names:
            results[name] = measure(name, Path(folder), given)
            print(f"{name}: {results[name]['ratio']:.2f} of the bare loop", file=sys.stderr)
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    first = next(iter(results.values()))
    table = Table(
        title=f"{given.images} pictures of 640 x {given.height}, batches of {given.batch_size}, "
        f"{first['device']}, {first['precision']}"
    )
    table.add_column("detector", no_wrap=True)
    for column in ("bare images/s", "ours images/s", "ours / bare", "boxes, bare", "boxes, ours"):
        table.add_column(column, justify="right")
    for name, found in results.items():
        figures = (found[key] for key in ("bare", "ours", "ratio", "bare boxes", "boxes"))
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
