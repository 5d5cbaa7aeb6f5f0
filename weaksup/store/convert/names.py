"""From the names that a file of features has for its images to the images' ids."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from weaksup.errors import DataError

# What names get that have no suffix, where there are no images to look at.
DEFAULT_SUFFIX = ".jpg"
_PICTURE = re.compile(r"\.(jpe?g|png|webp|bmp|gif|tiff?)$", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"([0-9]+)$")

Key = Callable[[str], str]


@dataclass(frozen=True)
class ImageIds:
    """Ids for names, one each and all different.

    Attributes:
        ids: in the order of the names.
        missing: ids of names that fit no image; empty where there were no images to look at.
        unused: how many images no name fits.
    """

    ids: list[str]
    missing: list[str]
    unused: int = 0


def image_ids(names: Sequence[str], images: Sequence[str] | None) -> ImageIds:
    """Find the image of each name.

    A name is the image that it equals; else the one that equals it without suffixes; else the one
    whose file name does, without folders; else, for a number, the one whose file name ends in that
    number, as COCO's 391895 is ``COCO_val2014_000000391895.jpg``.

    Args:
        names: each once.
        images: ids of the images that there are; None if that is not known. Then, as for names
            that fit no image, the name is the id, with ``.jpg`` if it has no picture's suffix.

    Raises:
        DataError: if a name fits several images, or two names one.
    """
    known = images or ()
    tables = [_table(known, of_image) for of_image, _ in _RULES]
    ids, missing, taken = [], [], dict[str, str]()
    for name in names:
        found = _find(name, tables)
        if found is None:
            found = name if _PICTURE.search(name) else name + DEFAULT_SUFFIX
            if images is not None:
                missing.append(found)
        if found in taken:
            raise DataError(
                f"'{taken[found]}' and '{name}' are both the image {found}",
                "rename one of them, or name the images' folder with --images",
            )
        taken[found] = name
        ids.append(found)
    return ImageIds(ids, missing, len(known) - len(set(known) & set(ids)))


def _find(name: str, tables: Sequence[dict[str, list[str]]]) -> str | None:
    for table, (_, of_name) in zip(tables, _RULES, strict=True):
        key = of_name(name)
        fits = table.get(key, []) if key else []
        if len(fits) > 1:
            raise DataError(
                f"'{name}' fits several images: {', '.join(sorted(fits)[:3])}",
                "name a folder with --images in which one file has that name",
            )
        if fits:
            return fits[0]
    return None


def _table(images: Sequence[str], key: Key) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for image in images:
        if key(image):
            table.setdefault(key(image), []).append(image)
    return table


def _bare(name: str) -> str:
    return _PICTURE.sub("", name)


def _bare_file(name: str) -> str:
    return PurePosixPath(_bare(name)).name


def _last_number(name: str) -> str:
    """The number in which a file name ends, without leading zeros; "" without one."""
    match = _LAST_NUMBER.search(_bare_file(name))
    return "" if match is None else match[1].lstrip("0") or "0"


def _number(name: str) -> str:
    """A name that is nothing but a number, without leading zeros; "" for any other."""
    return _last_number(name) if _bare(name).isdigit() else ""


# From the strictest to the loosest: what an image and a name have in common.
_RULES: tuple[tuple[Key, Key], ...] = (
    (str, str),
    (_bare, _bare),
    (_bare_file, _bare_file),
    (_last_number, _number),
)
