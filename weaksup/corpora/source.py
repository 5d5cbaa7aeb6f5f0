"""A captions file that is looked at piecemeal: its head to recognise it, then the whole."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from weaksup.errors import DataError, nearest_name

# Enough for a header or the first record of a file of lines.
HEAD_BYTES = 1 << 16

KINDS = {str: "a string", list: "a list", dict: "an object", int: "a whole number"}


class Source:
    """A text file in UTF-8, with or without a byte order mark.

    Args:
        path: the file; its name plays no part in recognising what is in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def error(self, problem: str, hint: str = "", *, where: str = "") -> DataError:
        """The error to raise for a problem at ``where`` (``line 3``, ``images[7]``)."""
        return DataError(": ".join(part for part in (str(self.path), where, problem) if part), hint)

    @cached_property
    def head(self) -> str:
        """The first lines, leading blank ones removed.

        Raises:
            DataError: if the file cannot be opened.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(HEAD_BYTES)
        except OSError as error:
            raise self.error(f"cannot be read ({error.strerror})") from error
        return data.decode("utf-8-sig", errors="replace").lstrip()

    @property
    def first_line(self) -> str:
        """The first line that is not blank, without its line end; empty for an empty file."""
        lines = self.head.splitlines()
        return lines[0] if lines else ""

    def mentions(self, *keys: str) -> bool:
        """Whether every key stands somewhere in the file as a JSON string.

        It searches the bytes: JSON of half a gigabyte that holds no captions must not be parsed
        to find that out.
        """
        if not self.head:
            return False
        with (
            self.path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return all(data.find(f'"{key}"'.encode()) >= 0 for key in keys)

    def text(self) -> str:
        """The whole file.

        Raises:
            DataError: if it cannot be read or is not UTF-8; the message names the line.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise self.error(f"cannot be read ({error.strerror})") from error
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise self.error(
                f"byte {data[error.start]:#04x} is not UTF-8",
                "save the file as UTF-8",
                where=f"line {line}",
            ) from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """Line numbers from 1 and lines without their ends; blank lines are skipped."""
        # Not splitlines(): it also breaks at characters that stand inside captions (U+2028).
        for number, line in enumerate(self.text().split("\n"), start=1):
            if line.strip():
                yield number, line.rstrip("\r")

    def json(self) -> dict[str, Any]:
        """The whole file as one JSON object.

        Raises:
            DataError: if it is malformed; the message names line and column.
        """
        return self.parse(self.text())

    def parse(self, text: str, *, line: int | None = None) -> dict[str, Any]:
        """One JSON object from ``text``, which is the whole file or one numbered line of it.

        Raises:
            DataError: if it is malformed or something other than an object.
        """
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise self.error(
                f"malformed JSON: {error.msg}",
                "the file may have been cut off: compare its size with the original's",
                where=f"line {line or error.lineno}, column {error.colno}",
            ) from error
        except RecursionError as error:
            raise self.error("malformed JSON: nested too deeply") from error
        where = f"line {line}" if line else ""
        if not isinstance(content, dict):
            raise self.error("expected a JSON object", where=where)
        return content

    def field(self, record: object, key: str, kind: type, *, where: str) -> Any:
        """``record[key]``, checked to be of ``kind``.

        Raises:
            DataError: if the record is no object, or the key is missing (with the nearest name)
                or of another kind.
        """
        if not isinstance(record, dict):
            raise self.error("expected an object", where=where)
        if key not in record:
            nearest = nearest_name(key, record)
            keys = ", ".join(map(str, record)) or "none"
            raise self.error(
                f"'{key}' is missing" + (f"; there is '{nearest}'" if nearest else ""),
                f"keys that are there: {keys}",
                where=where,
            )
        value = record[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(
                f"'{key}' is {type(value).__name__}, expected {KINDS[kind]}", where=where
            )
        return value
