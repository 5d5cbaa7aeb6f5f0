"""One picture of an image: what was found in it, and how a model weighs it for a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from weaksup.drawing import (
    INK,
    MUTED,
    PAPER,
    RGB,
    RULE,
    SMALL,
    TEXT,
    NamedBox,
    colour,
    draw_boxes,
    fitted,
    font,
    pixels,
    shortened,
    wrapped,
)
from weaksup.inspect.panel import WIDTH, Bar, Block, Heading, Note, column_height, draw_column
from weaksup.types import Float32
from weaksup.wording import counted, decimals, rounded_together

MARGIN = 48
HEADER = 132
# Of a picture; one that is smaller is enlarged.
PICTURE = (860, 760)
GAP = 40
MOST_ROWS = 18
MOST_WEIGHTS = 8
MARKED = 4

FAINT: RGB = (150, 156, 165)
WORD: RGB = (132, 50, 160)
TOWER: RGB = (84, 84, 92)
EVIDENCE: RGB = (0, 116, 112)
SAID: RGB = (22, 148, 64)


@dataclass(frozen=True)
class Seen:
    """What a store says of an image.

    Attributes:
        title: a line.
        subtitle: another one, in small letters.
        named: regions that say something, the surest first.
        unnamed: x1 y1 x2 y2 of the others, as fractions; they are there for their features.
        classes: (name, probability) of the whole image, the most probable first.
    """

    title: str
    subtitle: str
    named: tuple[NamedBox, ...]
    unnamed: tuple[tuple[float, float, float, float], ...]
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Weighed:
    """How a model weighs an image and a sentence.

    Attributes:
        sentence: the text.
        summary: a line below it.
        boxes: (R, 4) float32 of the regions that the model reads, the whole image first.
        names: R names, empty for a region without an object.
        regions: (R,) float32, weights that sum to 1.
        words: (word, weight, whether the model knows it).
        parts: (name, share, cosine, what their product adds to the similarity) of its parts; the
            last ones are rounded, and sum to the similarity that ``summary`` states.
        evidence: (word, how sure, whether the sentence says it).
        notes: what the figures mean, a paragraph each.
    """

    sentence: str
    summary: str
    boxes: Float32
    names: tuple[str, ...]
    regions: Float32
    words: tuple[tuple[str, float, bool], ...]
    parts: tuple[tuple[str, float, float, float], ...]
    evidence: tuple[tuple[str, float, bool], ...]
    notes: tuple[str, ...]

    def region_name(self, place: int) -> str:
        return "whole image" if not place else self.names[place] or "no name"


def word_weights(weighed: Weighed) -> list[tuple[str, float, bool]]:
    """Words with their weights in percent, rounded so that they sum to 100."""
    percent = rounded_together([100 * weight for _, weight, _ in weighed.words], digits=1)
    return [
        (word, each, known) for (word, _, known), each in zip(weighed.words, percent, strict=True)
    ]


def region_weights(
    weighed: Weighed,
) -> tuple[list[tuple[int, float]], tuple[int, float] | None]:
    """The heaviest regions and all others together, in percent that sum to 100.

    Returns:
        (place, percent) of the heaviest, and (number, percent) of the others, if there are any.
    """
    order = np.argsort(-weighed.regions, kind="stable").tolist()
    first, others = order[:MOST_WEIGHTS], order[MOST_WEIGHTS:]
    weights = [100 * float(weighed.regions[place]) for place in first]
    percent = rounded_together(
        [*weights, 100 - sum(weights)][: len(weights) + bool(others)], digits=1
    )
    rest = (len(others), percent.pop()) if others else None
    return list(zip(first, percent, strict=True)), rest


def draw_inspection(picture: Image.Image, seen: Seen, weighed: Weighed | None) -> Image.Image:
    """The whole picture, RGB.

    Args:
        picture: the image, upright, RGB.
        seen: what the store says of it.
        weighed: what a model says of it; None leaves that part out.
    """
    scaled = fitted(picture, width=PICTURE[0], height=PICTURE[1])
    parts = [_seen_part(scaled, seen)]
    if weighed is not None:
        parts.append(_weighed_part(scaled, weighed))
    width = parts[0].width + 2 * MARGIN
    height = HEADER + sum(part.height for part in parts) + MARGIN
    height += (len(parts) - 1) * 2 * GAP
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    room = width - 2 * MARGIN
    for text, y, size, ink in ((seen.title, 64, TEXT + 4, INK), (seen.subtitle, 96, SMALL, MUTED)):
        letters = font(size)
        line = shortened(text, letters=letters, width=room)
        draw.text((MARGIN, y), line, font=letters, fill=ink, anchor="ls")
    y = HEADER
    for number, part in enumerate(parts):
        if number:
            draw.line((MARGIN, y + GAP, width - MARGIN - 1, y + GAP), fill=RULE, width=1)
            y += 2 * GAP
        canvas.paste(part, (MARGIN, y))
        y += part.height
    return canvas


def _seen_part(scaled: Image.Image, seen: Seen) -> Image.Image:
    picture = scaled.copy()
    draw = ImageDraw.Draw(picture)
    for corners in seen.unnamed:
        draw.rectangle(pixels(corners, picture.size), outline=FAINT, width=1)
    draw_boxes(picture, [_tagged(box) for box in seen.named])
    blocks: list[Block] = [Heading("What the detector sees")]
    for number, box in enumerate(seen.named[:MOST_ROWS]):
        score = box.score or 0.0
        blocks.append(Bar(box.name, f"{score:.2f}", score, colour(number), swatch=True))
    if len(seen.named) > MOST_ROWS:
        blocks.append(Note(f"and {len(seen.named) - MOST_ROWS} more"))
    if not seen.named:
        blocks.append(Note("No region scores high enough to have a name."))
    if seen.unnamed:
        blocks.append(
            Note(
                f"Thin grey: {counted(len(seen.unnamed), 'region')} with a score too low for a "
                "name, there for the features."
            )
        )
    if seen.classes:
        blocks.append(Heading("What the feature network sees in the whole"))
        blocks += [Bar(name, f"{sure:.2f}", sure, EVIDENCE) for name, sure in seen.classes]
    return _beside(picture, blocks)


def _tagged(box: NamedBox) -> NamedBox:
    name = box.name if box.score is None else f"{box.name} {box.score:.2f}"
    return NamedBox(box.box, name, box.score)


def _weighed_part(scaled: Image.Image, weighed: Weighed) -> Image.Image:
    first, rest = region_weights(weighed)
    picture = shaded(scaled, weighed.boxes, weighed.regions)
    marked = [(place, percent) for place, percent in first if place][:MARKED]
    draw_boxes(
        picture,
        [
            NamedBox(_box(weighed.boxes[place]), f"{weighed.names[place]} {percent:.1f} %".strip())
            for place, percent in marked
        ],
    )
    tones = {place: colour(number) for number, (place, _) in enumerate(marked)}
    most = max(first[0][1], 1e-9)
    blocks: list[Block] = [Heading("Weights of regions")]
    for place, percent in first:
        blocks.append(
            Bar(
                weighed.region_name(place),
                f"{percent:.1f} %",
                percent / most,
                tones.get(place, TOWER),
                muted=bool(place) and not weighed.names[place],
            )
        )
    if rest is not None:
        blocks.append(Note(f"{counted(rest[0], 'more region')}: {rest[1]:.1f} % together"))
    blocks.append(Heading("Weights of words"))
    words = word_weights(weighed)
    most = max([percent for _, percent, _ in words] or [0.0]) or 1e-9
    for word, percent, known in words:
        name = word if known else f"{word} (not known)"
        blocks.append(Bar(name, f"{percent:.1f} %", percent / most, WORD, muted=not known))
    above = _text_above(weighed)
    if len(weighed.parts) > 1:
        blocks += _parts(weighed)
    below: list[Block] = []
    if weighed.evidence:
        below.append(Heading("Words that the picture has evidence for"))
        for word, sure, said in weighed.evidence:
            tone = SAID if said else EVIDENCE
            name = f"{word}, in the sentence" if said else word
            below.append(Bar(name, f"{sure:.2f}", sure, tone))
    body = _beside(picture, blocks, below=below, notes=weighed.notes)
    whole = Image.new("RGB", (body.width, above.height + body.height), PAPER)
    whole.paste(above, (0, 0))
    whole.paste(body, (0, above.height))
    return whole


def _parts(weighed: Weighed) -> list[Block]:
    """What adds up to the similarity, as it is shown."""
    blocks: list[Block] = [Heading("What adds up to the similarity")]
    most = max(abs(adds) for *_, adds in weighed.parts) or 1e-9
    blocks += [
        Bar(name, decimals(adds, 3), abs(adds) / most, TOWER if adds >= 0 else FAINT)
        for name, _, _, adds in weighed.parts
    ]
    products = ", ".join(
        f"{name} {decimals(share, 3)} x {decimals(cosine, 3)}"
        for name, share, cosine, _ in weighed.parts
    )
    return [*blocks, Note(f"Each is a share times a cosine: {products}.")]


def _box(row: Float32) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = row.tolist()
    return x1, y1, x2, y2


def _text_above(weighed: Weighed) -> Image.Image:
    width = PICTURE[0] + GAP + WIDTH
    lines = wrapped(f"“{weighed.sentence}”", letters=font(TEXT), width=width)
    image = Image.new("RGB", (width, len(lines) * (TEXT + 8) + 44), PAPER)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        y = TEXT + number * (TEXT + 8)
        draw.text((0, y), line, font=font(TEXT), fill=INK, anchor="ls")
    y = len(lines) * (TEXT + 8) + 16
    draw.text((0, y), weighed.summary, font=font(SMALL), fill=MUTED, anchor="ls")
    return image


def shaded(picture: Image.Image, boxes: Float32, weights: Float32) -> Image.Image:
    """A picture that is as bright, place by place, as the regions that cover it weigh together.

    Args:
        picture: RGB.
        boxes: (R, 4) float32, fractions.
        weights: (R,) float32.

    Returns:
        A copy: the heaviest places as they are, the lightest at a quarter of their brightness.
    """
    mass = np.zeros((picture.height, picture.width), dtype=np.float32)
    for box, weight in zip(boxes, weights, strict=True):
        x1, y1, x2, y2 = pixels(box.tolist(), picture.size)
        mass[y1 : y2 + 1, x1 : x2 + 1] += weight
    span = float(mass.max() - mass.min())
    light = 0.25 + 0.75 * (mass - mass.min()) / span if span > 0 else np.ones_like(mass)
    values = np.asarray(picture, dtype=np.float32) * light[..., None]
    return Image.fromarray(values.round().astype(np.uint8))


def _beside(
    picture: Image.Image,
    blocks: list[Block],
    *,
    below: list[Block] | None = None,
    notes: Sequence[str] = (),
) -> Image.Image:
    """A picture, with blocks on its right; what follows them begins where there is space.

    Args:
        picture: at most as large as ``PICTURE``.
        blocks: on the right.
        below: further blocks: under the picture, left.
        notes: paragraphs, under the picture, beside these.
    """
    left = Image.new("RGB", PICTURE, PAPER)
    left = left.crop((0, 0, PICTURE[0], picture.height))
    left.paste(picture, ((PICTURE[0] - picture.width) // 2, 0))
    under: list[list[Block]] = [below or [], [Note(text) for text in notes]]
    if notes:
        under[1].insert(0, Heading("What this shows"))
    under = [column for column in under if column]
    foot = max((column_height(column) for column in under), default=0)
    height = max(left.height + foot, column_height(blocks))
    area = Image.new("RGB", (PICTURE[0] + GAP + WIDTH, height), PAPER)
    area.paste(left, (0, 0))
    draw = ImageDraw.Draw(area)
    # The first heading's upper gap would put it below the picture's edge.
    draw_column(draw, blocks, PICTURE[0] + GAP, -_FIRST_GAP)
    for number, column in enumerate(under):
        draw_column(draw, column, number * (WIDTH + 20), left.height)
    return area


_FIRST_GAP = 16
