"""Embeddings of pictures that are in no region store yet: detector and run, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from trainer.run import Run
from weaksup.analyser import Traits
from weaksup.concepts import build_vocabulary
from weaksup.detectors.known_files import KnownFiles
from weaksup.detectors.rebuild import Rebuilt, rebuild
from weaksup.errors import DataError, UsageError
from weaksup.extract import BATCH_SIZE, extract
from weaksup.store import RegionStore, open_store
from weaksup.types import Float32

# How the names of files in folders may end that are looked at as lists of concepts.
LISTS = (".txt", ".tsv", ".csv", "")


class PictureReader:
    """Reads new pictures the way a store's were read; what that takes is loaded when needed.

    Args:
        run: that embeds.
        store: any of those that the run fits; its detector and its words are used.
        files: where weights, labels and lists of concepts may be: files and folders.
    """

    def __init__(self, run: Run, store: RegionStore, *, files: Sequence[Path]) -> None:
        self._run, self._store, self._files = run, store, tuple(files)
        self._rebuilt: Rebuilt | None = None
        self._concept_list: Path | None = None
        self._lock = Lock()

    def embed(self, picture: Path) -> Float32:
        """(d,) float32 embedding of a picture file.

        Raises:
            DataError: if the file cannot be decoded, or the detector is another one now.
            MissingDependencyError: if the detector's weights are not here.
        """
        with self._lock, TemporaryDirectory(prefix="weaksup-") as folder:
            store = self._extract(picture, Path(folder))
            if store.problems:
                raise DataError(
                    f"{picture} cannot be read: {store.problems[0][1]}", "name another picture"
                )
            self._run.check_store(store)
            embedding: Float32 = self._run.encode_images(store)[0]
            return embedding

    def _extract(self, picture: Path, folder: Path) -> RegionStore:
        if self._rebuilt is None:
            rebuilt = rebuild(self._store.provenance, files=self._files)
            self._concept_list = self._find_concept_list(rebuilt)
            self._rebuilt = rebuilt
        out = folder / "regions.h5"
        extract(
            [(picture.name, picture)],
            detector=self._rebuilt.detector,
            feature_model=self._rebuilt.feature_model,
            out=out,
            concepts=folder / "concepts.json",
            concept_list=self._concept_list,
            batch_size=self._store.provenance.settings.get("batch_size", BATCH_SIZE),
            workers=1,
        )
        return open_store(out)

    def _find_concept_list(self, rebuilt: Rebuilt) -> Path | None:
        """The list of concepts that the store was made with; None if there was none.

        Raises:
            DataError: if there was one, and it is not among the known files.
        """
        traits = Traits.of(rebuilt.detector, rebuilt.feature_model, batch_size=BATCH_SIZE)
        wanted = (tuple(self._store.objects), tuple(self._store.attributes))
        texts = [
            path
            for path in KnownFiles(self._files).paths
            if path in self._files or path.suffix in LISTS
        ]
        for path in (None, *texts):
            try:
                words = build_vocabulary(traits.objects, traits.attributes, user_list=path)
            except (DataError, UsageError, OSError):  # of another kind, or not for this user
                continue
            if (tuple(words.objects), tuple(words.attributes)) == wanted:
                return path
        raise DataError(
            f"the concepts of {self._store.path} are not those of its detector: it was made with "
            "a list of concepts that was not found",
            "name that list with --models",
        )
