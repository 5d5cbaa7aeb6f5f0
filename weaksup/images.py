"""Finding pictures in folders, and decoding whatever a folder of pictures may hold."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, ImageOps, UnidentifiedImageError
from PIL import Image as Pillow

from weaksup.errors import DataError, UsageError
from weaksup.types import UInt8

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

# Larger pictures are reduced: no network here reads more, and memory stays bounded.
MAX_PIXELS = 4_000_000
# Larger ones are not decoded at all. A JPEG is measured at the scale at which its decoder can
# give it, so that its own limit is Pillow's against decompression bombs.
MAX_DECODED_PIXELS = 100_000_000
# Pictures over this are decoded one at a time, whatever the number of threads.
_LARGE_PIXELS = 16_000_000
_large = threading.Lock()

_SIDEWAYS = frozenset({5, 6, 7, 8})  # values of EXIF's orientation that swap the sides
_WHITE = (255, 255, 255, 255)


class UnreadableImage(Exception):  # noqa: N818 - a finding about a file, not a failure of ours
    """A file that cannot be decoded; ``reason`` says why, without the file's name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def list_images(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """All pictures inside ``folders`` and their subfolders.

    An image's id is its path relative to its folder, with suffix, ``/`` between the parts. Ids
    that are found in several folders get the folder's name before them. Hidden files and folders
    are passed over: operating systems leave thumbnails there.

    Returns:
        (id, path), sorted by id.

    Raises:
        UsageError: if a folder does not exist, or equal ids lie in folders of the same name.
        DataError: if there is no picture.
    """
    unique = list({folder.resolve(): folder for folder in folders}.values())
    found: list[tuple[str, Path, Path]] = []
    for folder in unique:
        if not folder.is_dir():
            raise UsageError(f"the image folder {folder} is no folder")
        found += [(_id(path, folder), path, folder) for path in _walk(folder)]
    if not found:
        raise DataError(
            f"there is no image in {', '.join(map(str, unique))}",
            f"name a folder with pictures ({' '.join(sorted(SUFFIXES))})",
        )
    counts = Counter(image for image, _, _ in found)
    images = [
        (image if counts[image] == 1 else f"{folder.resolve().name}/{image}", path)
        for image, path, folder in found
    ]
    images.sort()
    for (image, first), (following, second) in pairwise(images):
        if image == following:
            raise UsageError(
                f"two images would have the id '{image}': {first} and {second}",
                "rename one of the folders, or put them into one folder and name that",
            )
    return images


def find_image(image: str, folders: Sequence[Path]) -> Path | None:
    """The picture file of an id, as ``list_images`` gave it for ``folders``; None if it is gone.

    Nothing outside the folders is ever found, whatever the id.
    """
    for folder in folders:
        inside = [image]
        if image.startswith(f"{folder.resolve().name}/"):  # as several folders have it
            inside.append(image.partition("/")[2])
        for name in inside:
            parts = name.split("/")
            path = folder.joinpath(*parts)
            if not {"", ".", ".."} & {*parts} and path.is_file():
                return path
    return None


def _walk(folder: Path) -> list[Path]:
    paths, seen = [], set()
    for place, below, names in os.walk(folder, followlinks=True):
        identity = os.path.realpath(place)
        if identity in seen:  # a link to a folder above: without this it would go on for ever
            below.clear()
            continue
        seen.add(identity)
        below[:] = [name for name in below if not name.startswith(".")]
        paths += [
            path
            for path in (Path(place, name) for name in names if not name.startswith("."))
            if path.suffix.lower() in SUFFIXES and path.is_file()
        ]
    return paths


def _id(path: Path, folder: Path) -> str:
    # File names are bytes; ids are text. What is not UTF-8 becomes U+FFFD, and the run goes on.
    return os.fsencode(path.relative_to(folder).as_posix()).decode("utf-8", "replace")


def decode(path: Path) -> tuple[UInt8, tuple[int, int]]:
    """Decode a picture to upright RGB.

    CMYK, grey, palette and the like are converted, 16-bit is scaled, transparency is laid on
    white, of an animation the first frame counts, and pictures over ``MAX_PIXELS`` are reduced.

    Returns:
        (H, W, 3) uint8, and the picture's own height and width in pixels.

    Raises:
        UnreadableImage: for anything that cannot be decoded. Nothing else is raised.
    """
    try:
        if path.stat().st_size == 0:
            raise UnreadableImage("the file is empty")
        with Pillow.open(path) as picture:
            return _decode(picture)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("not a picture in a known format, or damaged at its start") from None
    except Pillow.DecompressionBombError as error:
        raise UnreadableImage(f"too large to decode: {error}") from None
    except OSError as error:
        raise UnreadableImage(error.strerror or str(error)) from None
    except Exception as error:
        # Decoders of damaged files raise nearly anything: struct.error, SyntaxError, ValueError,
        # IndexError, MemoryError. One bad file must not stop the run.
        raise UnreadableImage(f"damaged: {type(error).__name__}: {error}") from error


def _decode(picture: Pillow.Image) -> tuple[UInt8, tuple[int, int]]:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        # JPEG only: decode at 1/2, 1/4 or 1/8, the smallest that is still large enough.
        factor = (MAX_PIXELS / (width * height)) ** 0.5
        picture.draft(None, (max(1, int(width * factor)), max(1, int(height * factor))))
    pixels = picture.size[0] * picture.size[1]
    if pixels > MAX_DECODED_PIXELS:
        raise UnreadableImage(
            f"too large to decode: {width}x{height} pixels, the limit is {MAX_DECODED_PIXELS:,}"
        )
    if max(pixels, width * height) > _LARGE_PIXELS:
        with _large:
            rgb, sideways = _to_rgb(picture)
    else:
        rgb, sideways = _to_rgb(picture)
    return np.asarray(rgb), (width, height) if sideways else (height, width)


def _to_rgb(picture: Pillow.Image) -> tuple[Pillow.Image, bool]:
    """The picture in upright RGB of at most ``MAX_PIXELS``, and whether its sides were swapped."""
    picture.load()
    rgb = _convert(picture)
    if rgb.width * rgb.height > MAX_PIXELS:
        factor = (MAX_PIXELS / (rgb.width * rgb.height)) ** 0.5
        size = (max(1, int(rgb.width * factor)), max(1, int(rgb.height * factor)))
        rgb = rgb.resize(size, Pillow.Resampling.BILINEAR, reducing_gap=2.0)
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        rgb.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(rgb, in_place=True)
    except Exception:  # damaged EXIF data: the picture itself is whole
        return rgb, False
    return rgb, orientation in _SIDEWAYS


def _convert(picture: Pillow.Image) -> Pillow.Image:
    if picture.mode.startswith("I") or picture.mode == "F":
        return Pillow.fromarray(to_eight_bits(np.asarray(picture))).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = Pillow.new("RGBA", layer.size, _WHITE)
        ground.alpha_composite(layer)
        return ground.convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def to_eight_bits(grey: npt.NDArray[np.generic]) -> UInt8:
    """Scale grey values of a deep picture to 0..255; Pillow's own conversion would clip them.

    Args:
        grey: (H, W). 16-bit integers, also when kept in 32 bits, span 0..65535; floats span 0..1
            or, if they are greater, 0..255; what fits neither is stretched from its least to its
            greatest value.
    """
    values = np.nan_to_num(np.asarray(grey), posinf=0, neginf=0)
    low, high = float(values.min()), float(values.max())
    scaled: npt.NDArray[Any]
    if values.dtype.kind in "iu" and low >= 0 and high <= 65535:
        scaled = values // 257
    elif values.dtype.kind == "f" and low >= 0 and high <= 255:
        scaled = np.rint(values * (255 if high <= 1 else 1))
    else:
        scaled = np.rint((values.astype(np.float64) - low) * (255 / ((high - low) or 1.0)))
    return scaled.astype(np.uint8)
