"""A folder of shards while it is written: what is in the way, and what is replaced already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weaksup.errors import UsageError
from weaksup.files import write_atomically
from weaksup.store import schema
from weaksup.store.journal import remove_journal
from weaksup.store.schema import OVERWRITING, StorePlan


def check_shards(folder: Path, shards: int) -> None:
    """Refuse a folder that holds shards, finished or not, of a store in another number of files.

    Raises:
        UsageError: if it does; the message says how many.
    """
    others = _other_shards(folder, shards)
    if others:
        totals = sorted({total for _, total in others})
        raise UsageError(
            f"{folder} holds shards of a store in {' and '.join(map(str, totals))} files, "
            f"not {shards}",
            f"--shards {totals[0]} goes on with it, --overwrite replaces it, --out writes "
            "elsewhere",
        )


def finish_shards(folder: Path, shards: int) -> None:
    """Make ``folder`` one store, of which all shards are there.

    What an overwriting has noted goes, and so do the shards, finished or not, of a store in another
    number of files.

    Raises:
        UsageError: if another process writes one of those.
    """
    for path, _ in _other_shards(folder, shards):
        if path.is_dir():
            remove_journal(path)
        else:
            path.unlink()
    (folder / OVERWRITING).unlink(missing_ok=True)


class Overwriting:
    """Which shards an ``--overwrite`` has replaced, over interruptions.

    A file in the folder says so from the first shard on until all are replaced. Without it, the
    same command, given again, could not tell new shards from old ones, and would make all of them
    once more; and a reader would take old and new ones for one store.

    Args:
        folder: of the shards, which may not exist yet.
        plan: of the whole store, with the ids of all shards.
        group_size: images a group: with the plan, what decides which images a shard has.

    Attributes:
        done: names of the shards that are replaced.
    """

    def __init__(self, folder: Path, *, plan: StorePlan, group_size: int) -> None:
        self._path = folder / OVERWRITING
        content = json.dumps([plan.to_json(), group_size], sort_keys=True)
        self._digest = hashlib.sha256(content.encode()).hexdigest()
        self.done: list[str] = self._read()

    @contextmanager
    def replacing(self, name: str) -> Iterator[None]:
        """Around what puts the shard ``name`` into its place.

        Raises:
            DataError: if the folder cannot be written.
        """
        self._write()
        yield
        if name not in self.done:
            self.done.append(name)
            self._write()

    def _write(self) -> None:
        text = json.dumps({"plan": self._digest, "done": self.done}, indent=1) + "\n"
        write_atomically(self._path, text)

    def _read(self) -> list[str]:
        """What an interrupted overwriting of the same plan has replaced."""
        try:
            content = json.loads(self._path.read_bytes())
            return list(map(str, content["done"])) if content["plan"] == self._digest else []
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return []


def _other_shards(folder: Path, shards: int) -> list[tuple[Path, int]]:
    """(file or journal, number of files of its store), sorted."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = schema.SHARD_NAME.fullmatch(entry.name.removesuffix(schema.JOURNAL_SUFFIX))
        if match and int(match[2]) != shards:
            found.append((entry, int(match[2])))
    return found
