"""One image of a store in the terminal, and as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from weaksup.cli.options import stderr
from weaksup.errors import DataError, UsageError, nearest_name
from weaksup.wording import counted, decimals, rounded_together
from weaksup.workspace import Workspace

if TYPE_CHECKING:
    from trainer.explain import Explanation
    from trainer.run import Run
    from weaksup.inspect.picture import Seen, Weighed
    from weaksup.store import RegionStore

_EVIDENCE = 10
MOST_COMPARED = 20_000  # names, in a second or two
_DIGITS = re.compile(r"[0-9]+")


def show_image(
    out: Console,
    workspace: Workspace,
    store: RegionStore,
    image: str,
    picture: Path | None,
    text: str | None,
    folder: Path | None,
) -> dict[str, Any]:
    from weaksup.types import STATUS_UNREADABLE

    index = _index(store, image)
    identity = store.ids[index]
    if store.status[index] == STATUS_UNREADABLE:
        reason = dict(store.problems).get(identity) or "no reason is known"
        raise DataError(
            f"the image {identity} has no regions: it could not be read ({reason})",
            "mend the file, and run `weaksup extract --overwrite`",
        )
    seen = _seen(store, index)
    _print_seen(out, seen)
    content: dict[str, Any] = {
        "image": identity,
        "size": [int(side) for side in store.sizes[index]],
        "regions": [asdict(box) for box in seen.named],
        "unnamed_regions": len(seen.unnamed),
        "classes": [{"name": name, "score": score} for name, score in seen.classes],
    }
    weighed = None
    if text is not None and folder is not None:
        with stderr().status("asking the model"):
            from trainer.explain import explain
            from trainer.run import load_run

            run = load_run(folder)
            run.check_store(store)
            explanation = explain(run, store, index, text, top=_EVIDENCE)
        weighed = _weighed(store, index, text, run, explanation)
        _print_weighed(out, weighed)
        content["explanation"] = {
            "run": run.folder.name,
            "text": text,
            **asdict(explanation),
            "regions": explanation.regions.tolist(),
        }
    if picture is not None:
        _draw(workspace, identity, picture, seen, weighed)
        out.print(f"written: {picture}", markup=False, highlight=False)
    return content


def _index(store: RegionStore, image: str) -> int:
    """The position of an image that is named by its id, or by the end of it."""
    if image in set(store.ids):
        return store.index(image)
    ends = [name for name in store.ids if name.endswith(f"/{image}")]
    if len(ends) == 1:
        return store.index(ends[0])
    nearest = _meant(image, store.ids)
    hint = f"did you mean {nearest}? " if nearest and not ends else ""
    what = f"{len(ends)} images end in {image}" if ends else f"the store has no image {image}"
    raise UsageError(
        f"--image: {what}",
        f"{hint}ids are paths relative to the image folder"
        + (f", such as {(ends or store.ids)[0]}" if ends or store.ids else ""),
    )


def _meant(image: str, ids: Sequence[str]) -> str | None:
    """The id that was most likely meant, if any was.

    Its file has the same numbers, however many zeros they begin with: another number is another
    image, and not a typing error.
    """
    numbers = _numbers(image)
    alike = [name for name in ids if _numbers(name) == numbers]
    return nearest_name(image, alike[:MOST_COMPARED])


def _numbers(image: str) -> list[int]:
    return [int(digits) for digits in _DIGITS.findall(image.rpartition("/")[2])]


def _seen(store: RegionStore, index: int) -> Seen:
    from weaksup.inspect.boxes import named_boxes
    from weaksup.inspect.picture import Seen

    threshold = store.score_threshold
    rows = slice(int(store.offsets[index]), int(store.offsets[index + 1]))
    named = named_boxes(store, index, threshold=threshold)
    boxes = store.gather([index]).boxes[0]
    silent = (store.region_objects[rows] < 0) | (store.region_scores[rows] < threshold)
    unnamed = [tuple(boxes[place].tolist()) for place in range(1, len(boxes)) if silent[place]]
    classes = [
        (store.classes[row], float(score))
        for row, score in zip(
            store.region_classes[rows.start], store.region_class_scores[rows.start], strict=True
        )
        if row >= 0
    ]
    height, width = store.sizes[index]
    return Seen(
        title=store.ids[index],
        subtitle=f"{width} x {height} pixels, {counted(len(boxes), 'region')}, {len(named)} with a "
        f"concept; {store.provenance.detector}",
        named=named,
        unnamed=tuple(unnamed),
        classes=tuple(classes),
    )


def _print_seen(out: Console, seen: Seen) -> None:
    table = Table("region", title=Text(seen.title, style="table.title"), title_justify="left")
    for name in ("score", "x1", "y1", "x2", "y2"):
        table.add_column(name, justify="right")
    for box in seen.named:
        score = "" if box.score is None else f"{box.score:.2f}"
        table.add_row(Text(box.name), score, *(f"{side:.2f}" for side in box.box))
    out.print(table)
    out.print(seen.subtitle, markup=False, highlight=False)
    if seen.classes:
        classes = ", ".join(f"{name} {score:.2f}" for name, score in seen.classes)
        out.print(f"classes of the whole image: {classes}", markup=False, highlight=False)


def _weighed(
    store: RegionStore, index: int, text: str, run: Run, explanation: Explanation
) -> Weighed:
    from weaksup.inspect.boxes import region_name
    from weaksup.inspect.picture import Weighed

    start, count = int(store.offsets[index]), len(explanation.regions)
    scores = store.region_scores[start : start + count]
    names = [
        # Below the threshold, names are guesses.
        region_name(store, start + place) if scores[place] >= store.score_threshold else ""
        for place in range(count)
    ]
    notes = [
        explanation.meaning,
        "In the picture, each place is as bright as the regions that cover it weigh together.",
    ]
    if explanation.evidence:
        classes = " and the feature network's classes" if store.classes else ""
        notes.append(
            f"Evidence comes from the detector's concepts{classes}, through the words that stand "
            "for them; words of one stem are one. The concept tower compares it, standardised "
            "over the training images, with the sentence: the order is by how far a word stands "
            "out."
        )
    if explanation.unsupported:
        lost = ", ".join(explanation.unsupported)
        notes.append(f"No concept of the store stands for: {lost}.")
    parts = explanation.parts
    added = rounded_together([part.share * part.cosine for part in parts], digits=3)
    return Weighed(
        sentence=text,
        summary=f"run {run.folder.name} ({run.model_name}): similarity {decimals(sum(added), 3)}",
        boxes=store.gather([index]).boxes[0][:count],
        names=tuple(names),
        regions=explanation.regions,
        words=tuple((word.text, word.weight, word.known) for word in explanation.words),
        parts=tuple(
            (part.name, part.share, part.cosine, adds)
            for part, adds in zip(parts, added, strict=True)
        ),
        evidence=tuple((each.text, each.sure, each.said) for each in explanation.evidence),
        notes=tuple(notes),
    )


def _print_weighed(out: Console, weighed: Weighed) -> None:
    from weaksup.inspect.picture import region_weights, word_weights

    out.print(weighed.summary, markup=False, highlight=False)
    if len(weighed.parts) > 1:
        out.print(_parts(weighed))
    words = ", ".join(
        f"{word} {weight:.1f}" + ("" if known else " (not known)")
        for word, weight, known in word_weights(weighed)
    )
    out.print(f"weights of words, in percent: {words}", markup=False, highlight=False)
    first, rest = region_weights(weighed)
    regions = [f"{weighed.region_name(place)} {weight:.1f}" for place, weight in first]
    if rest is not None:
        regions.append(f"{counted(rest[0], 'more region')} {rest[1]:.1f}")
    line = f"weights of regions, in percent: {', '.join(regions)}"
    out.print(line, markup=False, highlight=False)
    if weighed.evidence:
        evidence = ", ".join(
            f"{word} {sure:.2f}" + (" (in the sentence)" if said else "")
            for word, sure, said in weighed.evidence
        )
        out.print(f"evidence, and how sure it is: {evidence}", markup=False, highlight=False)
    for note in weighed.notes:
        out.print(f"note: {note}", markup=False, highlight=False)


def _parts(weighed: Weighed) -> Table:
    """What adds up to the similarity, as it is shown."""
    table = Table("part of the similarity", show_footer=True)
    table.columns[0].footer = "sum"
    for name in ("share", "cosine"):
        table.add_column(name, justify="right")
    total = sum(adds for *_, adds in weighed.parts)
    table.add_column("share x cosine", justify="right", footer=decimals(total, 3))
    for name, share, cosine, adds in weighed.parts:
        table.add_row(name, *(decimals(value, 3) for value in (share, cosine, adds)))
    return table


def _draw(
    workspace: Workspace, identity: str, path: Path, seen: Seen, weighed: Weighed | None
) -> None:
    from PIL import Image

    from weaksup.images import UnreadableImage, decode, locate_image
    from weaksup.inspect.picture import draw_inspection

    file = locate_image(workspace.images, identity)
    if file is None:
        where = ", ".join(map(str, workspace.images)) or "no folder that the workspace remembers"
        raise DataError(
            f"the file of {identity} is not in {where}",
            "put it back, or name the image folders again with `weaksup extract --images DIR`",
        )
    try:
        pixels, _ = decode(file)
    except UnreadableImage as error:
        raise DataError(f"{file} cannot be read: {error.reason}") from error
    drawn = draw_inspection(Image.fromarray(pixels), seen, weighed)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn.save(path)
    except OSError as error:
        raise DataError(
            f"--picture {path} cannot be written: {error.strerror or error}",
            "make room, mend the permissions, or name another file",
        ) from error
