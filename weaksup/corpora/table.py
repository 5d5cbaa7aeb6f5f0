"""Tables: csv, tsv or jsonl with ``image``, ``caption`` and, if wanted, ``split``.

An image has any number of rows. In jsonl a caption may also be a list of captions.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from weaksup.corpora.builder import CorpusBuilder
from weaksup.corpora.reader import READERS, Fit, Reader
from weaksup.corpora.source import Source
from weaksup.errors import nearest_name
from weaksup.types import Corpus

NAME = "table"
REQUIRED = ("image", "caption")
SPLIT = "split"
DELIMITERS = (",", "\t", ";")


def fit(source: Source) -> Fit:
    """Whether the header, or the first line's JSON object, names an image and a caption."""
    if _is_jsonl(source):
        keys = _keys(source.first_line)
    else:
        keys = _header(source.first_line, _delimiter(source.first_line))
    found = sum(key in keys for key in REQUIRED)
    return (Fit.NO, Fit.PARTLY, Fit.YES)[found]


def read(source: Source) -> Corpus:
    """Rows in file order.

    Raises:
        DataError: for a missing column (with the nearest name), a row with more fields than the
            header, quotes that do not close, a caption that is no text.
    """
    builder = CorpusBuilder(source, NAME)
    if _is_jsonl(source):
        _read_jsonl(source, builder)
    else:
        _read_csv(source, builder)
    return builder.build()


def _is_jsonl(source: Source) -> bool:
    return source.first_line.startswith("{")


def _keys(line: str) -> list[str]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        # Damaged jsonl is still jsonl: reading it gives the error with the place.
        return [key for key in REQUIRED[:1] if f'"{key}"' in line]
    return list(record) if isinstance(record, dict) else []


def _delimiter(header: str) -> str:
    """The delimiter by which most of the known columns come out; the comma if none do."""
    return max(DELIMITERS, key=lambda d: sum(key in _header(header, d) for key in REQUIRED))


def _header(line: str, delimiter: str) -> list[str]:
    try:
        fields = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
    return [name.strip().lower() for name in fields]


def _read_jsonl(source: Source, builder: CorpusBuilder) -> None:
    for line, text in source.lines():
        where = f"line {line}"
        record = source.parse(text, line=line)
        image = source.field(record, "image", str, where=where)
        captions = _captions(source, record, where)
        split = None
        if record.get(SPLIT) is not None:
            split = source.field(record, SPLIT, str, where=where)
        builder.add(image, captions, split=split, where=where)


def _captions(source: Source, record: dict[str, Any], where: str) -> list[str]:
    value = record.get("caption", "")
    if "caption" not in record or not isinstance(value, str | list | None):
        # Raises: the key is missing, or is neither text nor a list.
        source.field(record, "caption", str, where=where)
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str | None):
            raise source.error(
                f"a caption is {type(item).__name__}, expected a string", where=where
            )
    return [item or "" for item in items]


def _read_csv(source: Source, builder: CorpusBuilder) -> None:
    rows = _rows(source)
    first, fields = next(rows)
    header = [name.strip().lower() for name in fields]
    for key in REQUIRED:
        if key not in header:
            nearest = nearest_name(key, header)
            raise source.error(
                f"column '{key}' is missing" + (f"; there is '{nearest}'" if nearest else ""),
                f"columns that are there: {', '.join(header)}",
                where=f"line {first}",
            )
        if header.count(key) > 1:
            raise source.error(f"column '{key}' is there twice", where=f"line {first}")
    for line, row in rows:
        where = f"line {line}"
        if any(field.strip() for field in row[len(header) :]):
            raise source.error(
                f"{len(row)} fields, but the header has {len(header)}",
                "put quotes around captions that contain the delimiter",
                where=where,
            )
        record = dict(zip(header, row, strict=False))
        builder.add(
            record["image"], (record.get("caption", ""),), split=record.get(SPLIT), where=where
        )


def _rows(source: Source) -> Iterator[tuple[int, Sequence[str]]]:
    """Rows that are not blank, each with the number of its first line."""
    # Strict: an unclosed quote would otherwise swallow the rest of the file without a word.
    reader = csv.reader(
        io.StringIO(source.text(), newline=""), delimiter=_delimiter(source.first_line), strict=True
    )
    line = 1
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise source.error(
                f"the row cannot be read: {error}",
                "a quoted field ends with a quote, and quotes inside it are doubled",
                where=f"line {line}",
            ) from error
        if row is None:
            return
        if any(field.strip() for field in row):
            yield line, row
        line = reader.line_num + 1


READERS.register(NAME)(Reader(fit=fit, read=read))
