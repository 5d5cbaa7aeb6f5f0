"""A folder of shards while it is written: what is in the way, and what is replaced already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weaksup.errors import DataError, UsageError
from weaksup.store import schema
from weaksup.store.journal import remove_journal
from weaksup.store.schema import OVERWRITING, StorePlan


def is_begun(path: Path) -> bool:
    """Whether a store, finished or not, is at ``path``: a file, or a folder of shards."""
    if path.is_dir():
        names = (entry.name.removesuffix(schema.JOURNAL_SUFFIX) for entry in path.iterdir())
        return any(map(schema.SHARD_NAME.fullmatch, names))
    return path.exists() or schema.journal_folder(path).exists()


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
    """Which shards an ``--overwrite`` has replaced, over interruptions and for several workers.

    A file in the folder says so from the first shard on until all are replaced. Without it, the
    same command, given again, could not tell new shards from old ones, and would make all of them
    once more; and a reader would take old and new ones for one store. Lines are only ever appended
    to it, so that workers need not know of one another; a line that is lost costs its shard's work
    done again, and no more.

    Args:
        folder: of the shards, which may not exist yet.
        plan: of the whole store, with the ids of all shards.
        group_size: images a group: with the plan, what decides which images a shard has.
    """

    def __init__(self, folder: Path, *, plan: StorePlan, group_size: int) -> None:
        self._path = folder / OVERWRITING
        content = json.dumps([plan.to_json(), group_size], sort_keys=True)
        self._digest = hashlib.sha256(content.encode()).hexdigest()

    @property
    def done(self) -> list[str]:
        """Names of the shards that are replaced, as the file says now."""
        return self._read()[1]

    @contextmanager
    def replacing(self, name: str) -> Iterator[None]:
        """Around what puts the shard ``name`` into its place.

        Raises:
            DataError: if the folder cannot be written.
        """
        begun, _ = self._read()
        if not begun:
            self._append({"plan": self._digest})
        yield
        if name not in self.done:
            self._append({"plan": self._digest, "done": name})

    def _append(self, line: dict[str, str]) -> None:
        try:
            # The line end before it too: what a kill has cut off then spoils no line but its own.
            with self._path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(f"\n{json.dumps(line)}\n")
        except OSError as error:
            raise DataError(
                f"{self._path} cannot be written: {error.strerror or error}",
                "make room, or mend the permissions",
            ) from error

    def _read(self) -> tuple[bool, list[str]]:
        """Whether the last overwriting that was begun is of this plan, and what it has replaced."""
        begun, done = False, list[str]()
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return begun, done
        for line in lines:
            try:
                content = json.loads(line)
                same = content["plan"] == self._digest
            except (ValueError, KeyError, TypeError):
                continue
            if not same:
                # Another overwriting has begun, and has replaced what this one had.
                begun, done = False, []
                continue
            begun = True
            if "done" in content:
                done.append(str(content["done"]))
        return begun, done


def _other_shards(folder: Path, shards: int) -> list[tuple[Path, int]]:
    """(file or journal, number of files of its store), sorted."""
    found = []
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = schema.SHARD_NAME.fullmatch(entry.name.removesuffix(schema.JOURNAL_SUFFIX))
        if match and int(match[2]) != shards:
            found.append((entry, int(match[2])))
    return found
