"""Small pictures inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from weaksup.drawing import fitted
from weaksup.images import UnreadableImage, decode, locate_image

SIDE = 200
_QUALITY = 78


class Thumbnails:
    """Pictures of images by their ids, as data URIs; each is read once.

    Args:
        folders: image folders.
        side: the longer one of a picture, in pixels, at most.

    Attributes:
        missing: ids that were asked for and whose file is not there, or is no picture.
    """

    def __init__(self, folders: Sequence[Path], *, side: int = SIDE) -> None:
        self._folders, self._side = tuple(folders), side
        self._made: dict[str, str] = {}
        self.missing: list[str] = []

    def __call__(self, image: str) -> str:
        """A JPEG, or an empty string."""
        if image not in self._made:
            self._made[image] = self._make(image)
            if not self._made[image]:
                self.missing.append(image)
        return self._made[image]

    def _make(self, image: str) -> str:
        path = locate_image(self._folders, image)
        if path is None:
            return ""
        try:
            pixels, _ = decode(path)
        except UnreadableImage:
            return ""
        picture = Image.fromarray(pixels)
        if max(picture.size) > self._side:
            picture = fitted(picture, width=self._side, height=self._side)
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
        return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
