"""A trained run, loaded: sentences and images to embeddings, and search.

Letters: N images, C sentences, d embedding width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from trainer.build import Sizes, build_model
from trainer.checkpoint import WEIGHTS, load_weights
from trainer.config import TrainConfig
from trainer.data import read_images, read_regions
from trainer.device import choose_device
from trainer.evidence import sources
from trainer.fragments import Fragments, FragmentTable
from trainer.index import Index, build_index, has_index, open_index, readable
from trainer.inputs import RegionInputs
from trainer.models.base import EmbeddingModel, PairModel, RetrievalModel, evaluating
from trainer.pairs import PairScores
from trainer.ranking import copies
from trainer.search import CaptionHit, Hit
from trainer.text import TokenBatch, Vocabulary, pad
from weaksup.errors import DataError, UsageError
from weaksup.store import RegionStore, is_imported, open_store
from weaksup.types import Float32, Int64, Provenance
from weaksup.wording import first_few

CONFIG, VOCABULARY = "config.json", "vocabulary.json"
FORMAT, VERSION = "weaksup.run", 2
IMAGE_CHUNK, TEXT_CHUNK = 256, 512


@dataclass(frozen=True)
class RunDescription:
    """What a run was made from (``config.json``).

    Where the run lies below the folder of its store, as in a workspace, the file names what is in
    that folder relative to the run: both can be moved, or copied, together.

    Attributes:
        config: every setting.
        regions: the region store.
        captions: the captions file.
        annotations: the annotations file.
        provenance: of the store: features of another origin mean nothing to the model.
        fingerprint: of the store: of which images it is.
        feature_size: D, width of a region feature.
        sources: how many concepts each source of evidence has.
    """

    config: TrainConfig
    regions: Path
    captions: Path
    annotations: Path
    provenance: Provenance
    fingerprint: str
    feature_size: int
    sources: tuple[int, ...]

    def write(self, folder: Path) -> None:
        """Write ``config.json``, whole or not at all."""
        home = self.regions.resolve().parent
        here = folder.resolve()

        def noted(path: Path) -> str:
            path = path.resolve()
            movable = here.is_relative_to(home) and path.is_relative_to(home)
            return Path(os.path.relpath(path, here)).as_posix() if movable else str(path)

        content = {
            "format": FORMAT,
            "version": VERSION,
            "config": self.config.model_dump(mode="json"),
            "regions": noted(self.regions),
            "captions": noted(self.captions),
            "annotations": noted(self.annotations),
            "provenance": asdict(self.provenance),
            "fingerprint": self.fingerprint,
            "feature_size": self.feature_size,
            "sources": list(self.sources),
        }
        temporary = folder / f"{CONFIG}.tmp"
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        temporary.replace(folder / CONFIG)

    @classmethod
    def read(cls, folder: Path) -> RunDescription:
        """Read ``config.json``.

        Raises:
            DataError: if it is missing, damaged, or of another version.
        """
        path = folder / CONFIG
        content = _read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path} is damaged: it holds no object", "train the run again")
        if content.get("format") != FORMAT or content.get("version") != VERSION:
            raise DataError(
                f"{path} is not a run of this version (format {content.get('format')!r}, "
                f"version {content.get('version')!r})",
                "train again with this version of weaksup",
            )
        here = folder.resolve()

        def place(name: str) -> Path:
            return Path(os.path.normpath(here / content[name]))

        try:
            return cls(
                TrainConfig.model_validate_json(json.dumps(content["config"])),
                place("regions"),
                place("captions"),
                place("annotations"),
                Provenance(**content["provenance"]),
                str(content["fingerprint"]),
                int(content["feature_size"]),
                tuple(map(int, content["sources"])),
            )
        except ValidationError as error:
            wrong = dict.fromkeys(".".join(map(str, each["loc"])) for each in error.errors())
            raise DataError(
                f"{path} has settings that this version of weaksup does not take: "
                f"{', '.join(wrong)}",
                "train again with this version of weaksup",
            ) from error
        except (KeyError, TypeError) as error:
            raise DataError(f"{path} is damaged: {error}", "train the run again") from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "name a run's folder") from error


class Towers:
    """A model with its vocabulary, as a function of stores and sentences.

    Args:
        model: in whatever mode; encoding switches it to evaluation and back.
        vocabulary: of the model.
        device: that the model is on.
        max_regions: the most confident regions that are read.
    """

    def __init__(
        self,
        *,
        model: RetrievalModel,
        vocabulary: Vocabulary,
        device: torch.device,
        max_regions: int,
    ) -> None:
        self.model, self.vocabulary = model, vocabulary
        self.device, self.max_regions = device, max_regions

    def encode_images(self, store: RegionStore, indices: npt.ArrayLike | None = None) -> Float32:
        """(N, d) float32 L2-normalised embeddings of images of a store.

        Args:
            store: made like the run's own (:meth:`Run.check_store`).
            indices: (N,) integers, positions of images; by default those of all images that could
                be read, in the store's order.

        Raises:
            UsageError: if the model has none.
        """
        chosen = readable(store) if indices is None else np.asarray(indices, dtype=np.int64)
        model, parts = self.embedding_model(), []
        with evaluating(model):
            for start in range(0, len(chosen), IMAGE_CHUNK):
                images = read_images(
                    store,
                    chosen[start : start + IMAGE_CHUNK],
                    max_regions=self.max_regions,
                    evidence=model.reads_evidence,
                    device=self.device,
                )
                parts.append(model.embed_images(*images))
        return _stack(parts)

    def encode_texts(self, texts: Sequence[str]) -> Float32:
        """(C, d) float32 L2-normalised embeddings of sentences.

        Raises:
            UsageError: if the model has none.
        """
        model = self.embedding_model()
        order, batches = self._text_batches([self.vocabulary.encode(text) for text in texts])
        with evaluating(model):
            result = _stack([model.embed_texts(tokens.to(self.device)) for tokens in batches])
        result[order] = result.copy()
        return result

    @property
    def compares_pairs(self) -> bool:
        """Whether the model has no embeddings: ``pair_scores`` is then all that it compares by."""
        return isinstance(self.model, PairModel)

    def pair_scores(self, store: RegionStore, indices: Int64, texts: Sequence[str]) -> PairScores:
        """Scores of images and sentences by cross attention.

        Args:
            store: that the images are read from.
            indices: (N,) int64 positions of images in it.
            texts: C sentences.

        Raises:
            UsageError: if the model's regions and words lie in no common space.
        """
        attention = self.model.cross_attention
        if attention is None:
            raise UsageError(
                "this model does not compare regions with words",
                "it needs a run of a3vse with a network tower",
            )
        contents: list[bytes] = []
        images = []
        rows = [self.vocabulary.encode(text) for text in texts]
        order, batches = self._text_batches(rows)
        with evaluating(self.model):
            for regions in self._image_batches(store, indices):
                contents += _contents(regions)
                images.append(Fragments.of(self.model.encode_images(regions.to(self.device))))
            sentences = [
                Fragments.of(self.model.encode_texts(tokens.to(self.device))) for tokens in batches
            ]
        return PairScores(
            images=FragmentTable.of(images, torch.arange(len(indices))),
            texts=FragmentTable.of(sentences, torch.from_numpy(order)),
            image_class=copies(contents),
            caption_class=copies(np.array(row).tobytes() for row in rows),
            attention=attention,
        )

    def embedding_model(self) -> EmbeddingModel:
        """The model, if it has embeddings.

        Raises:
            UsageError: if it compares pair by pair.
        """
        if isinstance(self.model, EmbeddingModel):
            return self.model
        raise UsageError(
            "this model compares images and sentences pair by pair: it has no embeddings",
            "train a3vse, vsepp, vse-infty or cca for what needs them",
        )

    def _image_batches(self, store: RegionStore, indices: Int64) -> Iterator[RegionInputs]:
        for start in range(0, len(indices), IMAGE_CHUNK):
            rows = indices[start : start + IMAGE_CHUNK]
            yield read_regions(store, rows, max_regions=self.max_regions)

    def _text_batches(self, rows: Sequence[list[int]]) -> tuple[Int64, Iterator[TokenBatch]]:
        """Batches of sentences of like length, which hold little padding; and their order."""
        order = np.argsort([len(row) for row in rows], kind="stable")
        chunks = (order[start : start + TEXT_CHUNK] for start in range(0, len(order), TEXT_CHUNK))
        return order, (pad([rows[place] for place in chunk]) for chunk in chunks)


def _contents(regions: RegionInputs) -> Iterator[bytes]:
    """What distinguishes images: their features and boxes, without padding."""
    for features, boxes, mask in zip(regions.features, regions.boxes, regions.mask, strict=True):
        yield features[mask].numpy().tobytes() + boxes[mask].numpy().tobytes()


def _stack(parts: Sequence[torch.Tensor]) -> Float32:
    if not parts:
        return np.zeros((0, 0), dtype=np.float32)
    return torch.cat(list(parts)).float().cpu().numpy()


class Run(Towers):
    """A trained run. Use :func:`load_run`.

    Attributes:
        folder: of the run.
        description: what it was made from.

    Example:
        >>> from trainer import load_run
        >>> run = load_run("weaksup-workspace/runs/a3vse")
        >>> [hit.image for hit in run.search("a dog runs through the snow", top=3)]
        >>> images = run.encode_images(open_store(run.regions))
        >>> scores = run.encode_texts(["a dog", "two children"]) @ images.T
    """

    def __init__(
        self,
        folder: Path,
        description: RunDescription,
        *,
        model: RetrievalModel,
        vocabulary: Vocabulary,
        device: torch.device,
    ) -> None:
        super().__init__(
            model=model,
            vocabulary=vocabulary,
            device=device,
            max_regions=description.config.max_regions,
        )
        self.folder, self.description = folder, description

    @property
    def model_name(self) -> str:
        return self.description.config.model

    def embedding_model(self) -> EmbeddingModel:
        if self.compares_pairs:
            raise UsageError(
                f"the run {self.folder.name} ({self.model_name}) compares images and sentences "
                "pair by pair: it has no embeddings",
                "name another run with --run, or train a3vse, vsepp, vse-infty or cca",
            )
        return super().embedding_model()

    @property
    def regions(self) -> Path:
        return self.description.regions

    @property
    def captions(self) -> Path:
        return self.description.captions

    def check_store(self, store: RegionStore) -> None:
        """Refuse a store whose features are not of the kind that the run was trained on.

        Raises:
            DataError: names what differs.
        """
        check_provenance(self.description.provenance, store, f"the run {self.folder.name}")
        if sources(store) != self.description.sources:
            raise DataError(
                f"the concepts in {store.path} are not those that the run {self.folder.name} was "
                "trained on",
                "extract with the same list of concepts",
            )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 (hex) over all that embeddings depend on: weights, vocabulary and settings."""
        digest = hashlib.sha256(self.description.config.model_dump_json().encode())
        for name in (VOCABULARY, WEIGHTS):
            digest.update((self.folder / name).read_bytes())
        return digest.hexdigest()

    @cached_property
    def index(self) -> Index:
        """What :meth:`search` searches: the index that the run has, or one made for now.

        The latter has no captions.

        Raises:
            DataError: if the index is damaged or older than the weights; or if there is none, and
                the store that the run was trained on cannot be read.
            MissingDependencyError: if the index needs FAISS, which is not installed.
        """
        if has_index(self):
            return open_index(self)
        return build_index(self, open_store(self.regions), kind="exact", captions=False)

    def search(
        self, text: str | None = None, *, image: str | None = None, top: int = 10
    ) -> list[Hit]:
        """The images that fit a sentence, or are like an image, best.

        Without an index (``weaksup index``) the first call embeds all images of the store that
        the run was trained on, and later calls search in these.

        Args:
            text: a sentence.
            image: in place of it, the id of an image of the index; it is not among the results.
            top: at most so many.

        Returns:
            The best first, with the similarity.

        Raises:
            DataError: as :attr:`index`; or if ``image`` is not in the index.
            ValueError: unless one of ``text`` and ``image`` is given.
        """
        if (text is None) == (image is None):
            raise ValueError("search for a text or for an image")
        if text is not None:
            return self.index.search(self.encode_texts([text])[0], top=top)
        hits = self.index.search(self._embedding(str(image)), top=top + 1, image=True)
        return [hit for hit in hits if hit.image != image][:top]

    def search_captions(self, image: str, *, top: int = 10) -> list[CaptionHit]:
        """The captions of the run's annotations that fit an image best.

        Args:
            image: id of an image of the index.
            top: at most so many; none if the run has no index.
        """
        return self.index.search_captions(self._embedding(image), top=top)

    def _embedding(self, image: str) -> Float32:
        place = self.index.find(image)
        if place is None:
            raise DataError(
                f"the index of the run {self.folder.name} has no image {image}",
                "ids are paths relative to the image folder, such as "
                f"{self.index.ids[0]}; `weaksup index --add` takes more images in",
            )
        return np.array(self.index.images.rows[place])


def check_provenance(expected: Provenance, store: RegionStore, what: str) -> None:
    """Raise DataError when a store's features differ in origin from ``expected``."""
    found = store.provenance
    text = _told_origin(expected, found)
    if text:
        raise DataError(
            f"the regions in {store.path} differ from those of {what} in {text}",
            _origin_hint(expected, found),
        )


def _told_origin(expected: Provenance, found: Provenance) -> str:
    """In what the making of features differs; empty if in nothing."""
    if expected.detector != found.detector:  # whose settings are of another kind
        return f"detector: {found.detector}, not {expected.detector}"
    weights = ["weights"] if expected.weights_sha256 != found.weights_sha256 else []
    settings = [
        name
        for name in sorted({*expected.settings, *found.settings})
        if expected.settings.get(name) != found.settings.get(name)
    ]
    return first_few([*weights, *settings])


def _origin_hint(expected: Provenance, found: Provenance) -> str:
    """What can be done: features that others made are not made again by extracting."""
    if is_imported(found):
        return (
            "they were imported, and only a run that was trained on them reads such features: name "
            "that run, or regions like those that this one was trained on"
        )
    if is_imported(expected):
        return (
            "the run was trained on imported features, and reads no others: name the store of "
            "those, or a run that was trained on regions like these"
        )
    return "extract them with the same detector and settings"


def load_run(folder: str | Path, *, device: str = "cpu") -> Run:
    """Load a run's best weights.

    Args:
        folder: of the run, such as ``weaksup-workspace/runs/a3vse``.
        device: ``auto`` (a GPU if there is one), or as torch names it.

    Raises:
        UsageError: if the device does not exist here.
        DataError: if a file of the run is missing, damaged, or does not fit the others.
    """
    folder = Path(folder)
    description = RunDescription.read(folder)
    vocabulary = _read_vocabulary(folder / VOCABULARY)
    model = build_model(
        description.config,
        Sizes(
            features=description.feature_size,
            words=len(vocabulary),
            sources=description.sources,
        ),
    )
    load_weights(folder / WEIGHTS, model)
    target = choose_device(device)
    return Run(folder, description, model=model.to(target), vocabulary=vocabulary, device=target)


def _read_vocabulary(path: Path) -> Vocabulary:
    content = _read_json(path)
    words = content.get("words") if isinstance(content, dict) else None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{path} is damaged: it holds no list of words", "train the run again")
    return Vocabulary(words)


def write_vocabulary(folder: Path, vocabulary: Vocabulary) -> None:
    """Write ``vocabulary.json``: the words in row order, without the specials."""
    text = json.dumps({"words": list(vocabulary.words[2:])}, ensure_ascii=False, indent=0)
    (folder / VOCABULARY).write_text(text + "\n", encoding="utf-8")
