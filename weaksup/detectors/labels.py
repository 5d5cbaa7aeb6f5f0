"""Label lists: COCO's 80 classes, and files with one name a line."""

from __future__ import annotations

from pathlib import Path

from weaksup.errors import DataError
from weaksup.files import require_file

# The object classes of COCO 2014/2017 (Lin et al., ECCV 2014) in the order of their category ids,
# as YOLO-like detectors number them. Torchvision's 91-entry list has gaps; this one has none.
COCO = tuple(
    """
    person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,
    stop sign,parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,
    backpack,umbrella,handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,
    baseball glove,skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,
    banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,
    potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,
    oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush
    """.replace("\n", "")
    .replace("    ", "")
    .split(",")
)


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a list of names, one a line, in the order of the network's classes.

    Raises:
        UsageError: if there is no such file, or it is a folder.
        DataError: if it is not UTF-8 text, is empty, or has an empty line before its last name.
    """
    require_file(path, "labels file", "name a text file, a class a line")
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise DataError(f"the labels file {path} is not UTF-8 text") from error
    while names and not names[-1]:
        names.pop()
    if not names:
        raise DataError(f"the labels file {path} is empty", "write one name a line")
    if "" in names:
        raise DataError(
            f"line {names.index('') + 1} of the labels file {path} is empty",
            "every line is one class: name it, or write `background` where the network has none",
        )
    return tuple(names)
