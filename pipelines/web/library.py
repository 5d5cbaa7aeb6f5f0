"""What the page shows: searches in one index, and the images and regions behind the results."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from pipelines.new_pictures import PictureReader
from trainer.index import Index
from trainer.region_view import view_regions
from trainer.run import Run
from trainer.search import Hit
from trainer.text import UNKNOWN, tokenize
from weaksup.errors import DataError
from weaksup.images import UnreadableImage, decode, locate_image
from weaksup.store import RegionStore, open_store
from weaksup.types import Float32

CAPTIONS = 5
THUMBNAIL, LARGE = 360, 1600  # pixels, longer side
JPEG_QUALITY = 88
CACHED_THUMBNAILS = 512


class Library:
    """Images by their places in an index; nothing else can be asked for.

    Args:
        run: that embeds.
        index: of the run.
        folders: of pictures, that ids are relative to.
        files: weights, labels and lists of concepts, to read new pictures.
    """

    def __init__(
        self, run: Run, index: Index, *, folders: Sequence[Path], files: Sequence[Path]
    ) -> None:
        self.run, self.index = run, index
        self._folders, self._files = tuple(folders), tuple(files)
        # Encoding switches the model's mode and back: requests come in several threads.
        self._lock = Lock()
        self._thumbnail = lru_cache(maxsize=CACHED_THUMBNAILS)(
            lambda place: self._jpeg(place, THUMBNAIL)
        )

    def by_text(self, sentence: str, *, top: int) -> dict[str, Any]:
        """The images that fit a sentence."""
        with self._lock:
            embedding = self.run.encode_texts([sentence])[0]
        words = dict.fromkeys(tokenize(sentence))
        unknown = [word for word in words if self.run.vocabulary.encode(word) == [UNKNOWN]]
        hits = self.index.search(embedding, top=top)
        return {"query": sentence, "results": self._results(hits), "unknown": unknown}

    def by_image(self, place: int, *, top: int) -> dict[str, Any]:
        """The images that are like one of the index, and its captions."""
        image = self.index.ids[place]
        found = self._like(np.array(self.index.images.rows[place]), top=top + 1)
        others = [hit for hit in found["results"] if hit["place"] != place][:top]
        return {"query": image, **found, "results": others}

    def by_picture(self, picture: Path, *, top: int) -> dict[str, Any]:
        """The images that are like a new picture, and captions that fit it."""
        with self._lock:
            embedding = self._reader.embed(picture)
        return {"query": "", **self._like(embedding, top=top)}

    def _like(self, embedding: Float32, *, top: int) -> dict[str, Any]:
        hits = self.index.search(embedding, top=top, image=True)
        captions = self.index.search_captions(embedding, top=CAPTIONS)
        return {
            "results": self._results(hits),
            "captions": [{"caption": hit.caption, "score": hit.score} for hit in captions],
        }

    def _results(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        return [
            {"place": self._places[hit.image], "image": hit.image, "score": hit.score}
            for hit in hits
        ]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {image: place for place, image in enumerate(self.index.ids)}

    @cached_property
    def _reader(self) -> PictureReader:
        return PictureReader(self.run, self._stores[0], files=self._files)

    @cached_property
    def _stores(self) -> list[RegionStore]:
        stores = []
        for source in self.index.sources:
            store = open_store(source.regions)
            if store.fingerprint != source.fingerprint:
                raise DataError(
                    f"{source.regions} was made again since it was indexed",
                    "run `weaksup index` again",
                )
            stores.append(store)
        return stores

    def thumbnail(self, place: int) -> bytes:
        """A small JPEG. Raises DataError if there is no picture file."""
        return self._thumbnail(place)

    def picture(self, place: int) -> bytes:
        """A large JPEG. Raises DataError if there is no picture file."""
        return self._jpeg(place, LARGE)

    def _jpeg(self, place: int, side: int) -> bytes:
        image = self.index.ids[place]
        file = locate_image(self._folders, image)
        if file is None:
            raise DataError(f"the picture file of {image} was not found")
        try:
            pixels, _ = decode(file)
        except UnreadableImage as error:
            raise DataError(f"{image} cannot be read: {error.reason}") from error
        picture = Image.fromarray(pixels)
        # Written anew: what a camera wrote into the file, such as a place, stays here.
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=JPEG_QUALITY)
        return stream.getvalue()

    def details(self, place: int, *, sentence: str) -> dict[str, Any]:
        """The regions of an image, what they are called, what they count, how they fit."""
        image = self.index.ids[place]
        store = next((s for s in self._stores if image in s.plan.ids), None)
        if store is None:
            raise DataError(f"no store of the index has {image}", "run `weaksup index` again")
        row = store.index(image)
        with self._lock:
            seen = view_regions(self.run, store, row, sentence=sentence)
        regions = store.regions(row)
        # Below the threshold the detector has only guessed, to fill up the image.
        named = (regions.objects >= 0) & (regions.scores >= store.score_threshold)
        shown = [
            {
                "box": [round(float(side), 5) for side in regions.boxes[n]],
                "name": "whole image" if n == 0 else _name(store, regions.objects[n], named[n]),
                "words": [store.attributes[w] for w in regions.attributes[n] if w >= 0 and n],
                "class": _class(store, regions.classes[n]),
                "score": float(regions.scores[n]),
                "weight": float(seen.weights[n]),
                "fit": None if seen.fit is None else float(seen.fit[n]),
            }
            for n in range(len(seen.weights))
        ]
        height, width = (int(side) for side in store.sizes[row])
        return {"image": image, "width": width, "height": height, "regions": shown}


def _name(store: RegionStore, thing: int, named: bool) -> str:
    return store.objects[thing] if named else "region"


def _class(store: RegionStore, classes: Any) -> str:
    return store.classes[classes[0]] if len(classes) and classes[0] >= 0 else ""
