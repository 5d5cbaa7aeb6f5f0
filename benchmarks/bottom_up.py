"""Throughput of ``weaksup extract`` against the extractor of bottom-up-attention.pytorch.

    git clone https://github.com/MILVLG/bottom-up-attention.pytorch
    OMP_NUM_THREADS=1 python -m benchmarks.bottom_up bottom-up-attention.pytorch

Needs detectron2, Ray and OpenCV (opencv-python-headless). Both sides have the clone's R50-C4 for
the 1,600 classes of Visual Genome, the same random weights (benchmarks/untrained.py), generated
pictures and limits, on the CPU, and take their turns in every round. Theirs is the task that
``extract_features.py --mode d2`` gives to Ray, run in this process. It names attributes by a head
of its own; ours does by colour, size and position.

The clock runs from when the model is loaded to when the last file is written; for ours, from before
the first picture is read to when the store is whole. Clock ``cpu`` counts the processor's time,
which says more where other work runs.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou, nms

from benchmarks.untrained import SCORE_THRESHOLD, WIDTH, save_configured, write_pictures
from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.extract import extract
from weaksup.images import list_images
from weaksup.store import open_store

CONFIG = "configs/d2/test-d2-r50.yaml"
HEIGHT = 480
MAX_BOXES = 35
SPREAD = 6.0  # of class scores, for 1,600 classes


def let_run() -> None:
    """Put in place what their code, made for an older detectron2, does not find.

    Of their other mode, imported here and not called: a suppression that is to be compiled, apex
    around it, and a class that detectron2 has no more. Their head calls that of detectron2
    with a configuration, as it once was.
    """
    from detectron2.modeling.roi_heads import ROIHeads, fast_rcnn

    module: Any = ModuleType("stands in for both")
    module.nms, module.amp = nms, SimpleNamespace(float_function=lambda function: function)
    sys.modules["apex"] = sys.modules["bua.caffe.modeling._C"] = module
    fast_rcnn.FastRCNNOutputs = object
    explicit = ROIHeads.__init__

    def begin(self: Any, config: Any = None, **values: Any) -> None:
        explicit(self, **(values if config is None else ROIHeads.from_config(config)))

    ROIHeads.__init__ = begin


def our_config(clone: Path, *, proposals: int) -> Any:
    """The clone's configuration without what plain detectron2 does not know."""
    from detectron2.config import get_cfg

    config = get_cfg()
    config.set_new_allowed(True)
    config.merge_from_file(str(clone / CONFIG))
    config.MODEL.ROI_HEADS.NAME = "Res5ROIHeads"
    config.MODEL.RPN.POST_NMS_TOPK_TEST = proposals
    del config.MODEL["BUA"], config.MODEL["ATTRIBUTE_ON"]
    return config


class Stamps:
    """Notes when it is called; stands for the actor of their progress bar, too."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self.times, self.update = clock, [], self

    def remote(self, *_: int) -> None:
        self.times.append(self._clock())

    def rate(self, pictures: int) -> float:
        """Pictures a second, where ``pictures`` were done from the first call to the last."""
        return pictures / (self.times[-1] - self.times[0])


def theirs(
    clone: Path, options: Sequence[object], pictures: Path, out: Path, stamps: Stamps
) -> None:
    """Run their task, which writes an npz file for each picture and then calls the actor."""
    sys.path.insert(0, str(clone))
    from utils import extract_d2features as module

    out.mkdir()
    args = argparse.Namespace(
        config_file=str(clone / CONFIG),
        opts=[*options, "MODEL.DEVICE", "cpu", "OUTPUT_DIR", f"{out}-log"],
        mode="d2",
        extract_mode="roi_feats",
        image_dir=str(pictures),
        output_dir=str(out),
        resume=False,
    )
    names = sorted(path.name for path in pictures.iterdir())
    with contextlib.redirect_stdout(sys.stderr):
        config = module.setup(args)
        module.register = stamps.remote  # called once the model is loaded
        module.extract_feat._function(0, names, config, args, stamps)


def agreement(written: Path, store: Path) -> tuple[float, float, float, float]:
    """How near both came to one another.

    Their features are those of the proposal that became the box, ours those of the box.

    Returns:
        Boxes an image of theirs and of ours, the share of theirs that ours has with an IoU over
        0.9, and the median cosine of these boxes' features.
    """
    regions = open_store(store)
    scale = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    counts, other_counts, cosines = [], [], []
    for index, name in enumerate(regions.ids):
        found = np.load((written / name).with_suffix(".npz"))
        one = regions.regions(index)
        ious = box_iou(torch.from_numpy(found["bbox"]), torch.from_numpy(one.boxes[1:]) * scale)
        for row, (best, column) in enumerate(zip(*ious.max(dim=1), strict=True)):
            if best > 0.9:
                a, b = found["x"][row], one.features[1 + int(column)].astype(np.float32)
                cosines.append(float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
        counts.append(ious.shape[0])
        other_counts.append(ious.shape[1])
    share = len(cosines) / sum(counts)
    return statistics.mean(counts), statistics.mean(other_counts), share, statistics.median(cosines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("clone", type=Path, help="of bottom-up-attention.pytorch")
    add("--images", type=int, default=16, help="pictures (16)")
    add("--proposals", type=int, default=1000, help="boxes an image that are classified (1000)")
    add("--rounds", type=int, default=2)
    add("--clock", choices=("wall", "cpu"), default="wall")
    given = parser.parse_args()
    if not (given.clone / CONFIG).is_file():
        parser.error(f"{given.clone} is no clone of bottom-up-attention.pytorch: no {CONFIG} there")
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    rates: dict[str, list[float]] = {"theirs": [], "ours": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures, weights = folder / "pictures", folder / "weights.pth"
        pictures.mkdir()
        write_pictures(pictures, count=given.images, height=HEIGHT)
        images = list_images([pictures])
        let_run()
        config = our_config(given.clone, proposals=given.proposals)
        save_configured(weights, config, height=HEIGHT, spread=SPREAD)
        (folder / "config.yaml").write_text(config.dump(), encoding="utf-8")
        options = ["MODEL.WEIGHTS", str(weights), "TEST.DETECTIONS_PER_IMAGE", MAX_BOXES]
        options += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", SCORE_THRESHOLD]
        options += ["MODEL.RPN.POST_NMS_TOPK_TEST", given.proposals]
        detector = build_detector(
            "detectron2",
            DetectorOptions(
                weights=f"{folder / 'config.yaml'},{weights}",
                labels=(given.clone / "evaluation/objects_vocab.txt").read_text().splitlines(),
                score_threshold=SCORE_THRESHOLD,
                min_regions=1,
                max_regions=MAX_BOXES + 1,  # with the whole image
                device="cpu",
            ),
        )
        for turn in range(given.rounds):
            stamps = Stamps(clock)
            theirs(given.clone.resolve(), options, pictures, folder / f"npz{turn}", stamps)
            rates["theirs"].append(stamps.rate(len(images)))
            stamps = Stamps(clock)
            store, concepts = folder / f"{turn}.h5", folder / f"{turn}.json"
            one = {"batch_size": 1, "opened": stamps.remote}  # theirs takes one at a time
            extract(images, detector=detector, out=store, concepts=concepts, **one)
            stamps.remote()
            rates["ours"].append(stamps.rate(len(images)))
            print({side: round(found[-1], 4) for side, found in rates.items()}, file=sys.stderr)
        boxes, our_boxes, share, cosine = agreement(folder / "npz0", folder / "0.h5")
    print("| | images/s | range | boxes an image | against theirs |\n|---|---|---|---|---|")
    for (side, found), count in zip(rates.items(), (boxes, our_boxes), strict=True):
        ratios = [one / other for one, other in zip(found, rates["theirs"], strict=True)]
        print(
            f"| {side} | {statistics.median(found):.4f} | {min(found):.4f} to {max(found):.4f} "
            f"| {count:.1f} | {statistics.median(ratios):.2f} |"
        )
    print(f"IoU over 0.9: {share:.1%} of their boxes; median cosine of the features {cosine:.4f}")


if __name__ == "__main__":
    main()
