"""Drawing a whole scene."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipelines.scenes.captions import describe
from pipelines.scenes.layout import Place, arrange
from pipelines.scenes.pen import OVERSAMPLING, RGB, Pen
from pipelines.scenes.shapes import SHAPES
from pipelines.scenes.textures import TEXTURES
from pipelines.scenes.types import Scene, SceneObject
from pipelines.scenes.words import BACKGROUNDS, COLOURS
from weaksup.types import Float32

# Height and width in pixels: landscape and portrait.
FORMATS = ((160, 208), (208, 160))
COLOUR_JITTER = 14
NOISE = 7


def _jitter(rng: np.random.Generator, colour: RGB) -> RGB:
    values = np.clip(np.array(colour) + rng.integers(-COLOUR_JITTER, COLOUR_JITTER + 1, 3), 0, 255)
    return int(values[0]), int(values[1]), int(values[2])


def _sprite(rng: np.random.Generator, place: Place) -> Image.Image:
    """The object alone, (H, W, 4) RGBA, tilted a little and cropped to what is drawn."""
    shape, _, tilt = SHAPES[place.kind]
    x1, y1, x2, y2 = place.box
    pen = Pen(width=x2 - x1, height=y2 - y1, main=_jitter(rng, COLOURS[place.colour][0]))
    shape(pen)
    canvas = pen.canvas
    if rng.random() < 0.5:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    angle = float(rng.uniform(-tilt, tilt))
    turned = canvas.rotate(angle, resample=Image.Resampling.BILINEAR, expand=True)
    small = turned.reduce(OVERSAMPLING)
    # A turned shape needs more space than its place has.
    small.thumbnail((x2 - x1, y2 - y1), Image.Resampling.BILINEAR)
    return small


def draw_object(
    rng: np.random.Generator, picture: Image.Image, place: Place, depth: int
) -> SceneObject:
    """Draw one object and return it with the tight box of its visible pixels."""
    sprite = _sprite(rng, place)
    alpha = sprite.getchannel("A").point(lambda value: 255 if value >= 96 else 0)
    tight = alpha.getbbox()
    if tight is None:
        raise AssertionError(f"the shape of '{place.kind}' draws nothing")
    x, y = place.box[:2]
    picture.paste(sprite, (x, y), sprite)
    box = (x + tight[0], y + tight[1], x + tight[2], y + tight[3])
    return SceneObject(kind=place.kind, colour=place.colour, size=place.size, box=box, depth=depth)


def _background(rng: np.random.Generator, name: str, height: int, width: int) -> Float32:
    surface = TEXTURES[name](rng, height, width)
    # Light falls from one side: no two lawns are equally bright.
    brightness = rng.uniform(0.82, 1.12)
    slope = np.linspace(rng.uniform(0.88, 1), rng.uniform(0.88, 1), width, dtype=np.float32)
    return surface * (brightness * slope[None, :, None]).astype(np.float32)


def generate_scene(
    seed: int | np.random.SeedSequence, *, size: tuple[int, int] | None = None
) -> Scene:
    """A scene that depends on the arguments alone.

    Args:
        seed: equal seeds give equal pixels, objects and captions.
        size: height and width in pixels, each at least 160; None takes one of ``FORMATS``.

    Returns:
        A scene with one to five objects.
    """
    rng = np.random.default_rng(seed)
    height, width = size or FORMATS[int(rng.integers(len(FORMATS)))]
    background = tuple(BACKGROUNDS)[int(rng.integers(len(BACKGROUNDS)))]
    surface = np.clip(_background(rng, background, height, width), 0, 255).astype(np.uint8)
    picture = Image.fromarray(surface)
    places = arrange(rng, height=height, width=width)
    objects = tuple(draw_object(rng, picture, place, depth) for depth, place in enumerate(places))
    noise = rng.integers(-NOISE, NOISE + 1, size=(height, width, 3), dtype=np.int16)
    image = np.clip(np.asarray(picture, dtype=np.int16) + noise, 0, 255).astype(np.uint8)
    captions = describe(rng, objects=objects, background=background)
    return Scene(image=image, background=background, objects=objects, captions=captions)
