"""Files of a cell: no damage is taken for a whole file, or for anything but damage."""

from __future__ import annotations

import io

import numpy as np
import pytest

from pipelines.compare.stored import PARTS, DamagedError, check_ranks, read_json, read_ranks
from weaksup.errors import DataError

PROTOCOLS = ("full", "folds-1k")


def content(number):
    """The array of a place in the file: the first fold has 10 numbers, those in halves 5."""
    return np.arange(10 if number < 3 else 5) + number


@pytest.fixture(scope="module")
def packed():
    """The bytes of a small file of ranks: one fold of one protocol, two of the other."""
    names = [f"full-0-{part}" for part in PARTS]
    names += [f"folds-1k-{fold}-{part}" for fold in range(2) for part in PARTS]
    file = io.BytesIO()
    np.savez_compressed(file, **{name: content(n) for n, name in enumerate(names)})
    return file.getvalue()


@pytest.fixture
def ranks(packed, tmp_path):
    path = tmp_path / "ranks.npz"
    path.write_bytes(packed)
    return path


def check(path):
    # Both protocols rank the same, one in halves.
    check_ranks(path, PROTOCOLS, images=10, captions=10)


def arrays(path):
    folds = [fold for protocol in PROTOCOLS for fold in read_ranks(path, protocol)]
    return [getattr(fold, part).tolist() for fold in folds for part in PARTS]


def test_the_ranks_that_were_written_are_read(ranks):
    check(ranks)
    assert arrays(ranks) == [content(n).tolist() for n in range(9)]


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_a_flipped_byte_is_damage_or_changes_nothing(ranks, packed, flip):
    whole = arrays(ranks)
    # All bytes of the central directory, which says how the arrays are packed, and some before it.
    start = packed.index(b"PK\x01\x02")
    damaged = 0
    for place in [*range(0, start, 13), *range(start, len(packed))]:
        byte = bytes([packed[place] ^ flip])
        ranks.write_bytes(packed[:place] + byte + packed[place + 1 :])
        try:
            check(ranks)
        except DamagedError:
            damaged += 1
        else:
            assert arrays(ranks) == whole
    assert damaged > 100


def test_a_file_that_is_cut_short_anywhere_is_damaged(ranks, packed):
    for length in range(0, len(packed), 37):
        ranks.write_bytes(packed[:length])
        with pytest.raises(DamagedError):
            check(ranks)


@pytest.mark.parametrize("content", [b"", b"junk", b"[1, 2]", b'{"a": ', b'"\xff"', b"[" * 10**5])
def test_json_that_is_no_object_is_damaged(tmp_path, content):
    path = tmp_path / "cell.json"
    assert read_json(path) is None
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"cell\.json is damaged"):
        read_json(path)


def test_one_array_alone_is_no_file_of_ranks(ranks):
    with ranks.open("wb") as file:
        np.save(file, np.arange(5))
    with pytest.raises(DamagedError, match="no npz file"):
        read_ranks(ranks, "full")


@pytest.mark.parametrize("read", [read_json, lambda path: read_ranks(path, "full")])
def test_what_the_system_does_not_let_us_read_is_not_called_damaged(tmp_path, read):
    with pytest.raises(DataError, match="cannot be read: Is a directory") as error:
        read(tmp_path)
    assert not isinstance(error.value, DamagedError)
