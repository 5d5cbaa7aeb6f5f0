"""Pickled arrays are read, and nothing else is run."""

from __future__ import annotations

import importlib.util
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from weaksup.detectors.array_pickle import read_arrays
from weaksup.detectors.build import DetectorOptions, build_detector
from weaksup.errors import DataError, MissingDependencyError


def written(tmp_path, content, protocol=2):
    path = tmp_path / "file.pkl"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_arrays_come_back(tmp_path, protocol):
    arrays = OrderedDict(
        a=np.arange(12, dtype=np.float32).reshape(3, 4),
        columns_first=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        big_endian=np.arange(3, dtype=">f4"),
        empty=np.zeros((0, 4), np.float16),
        count=np.array(7, np.int64),
        flags=np.array([True, False]),
    )
    content = {
        "model": arrays,
        "__author__": "us",
        "scalar": np.float32(0.5),
        "list": [arrays["a"]],
    }
    read = read_arrays(written(tmp_path, content, protocol))
    assert (read["__author__"], read["scalar"]) == ("us", 0.5)
    np.testing.assert_array_equal(read["list"][0], arrays["a"])
    assert read["model"].keys() == arrays.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(read["model"][key], value)
        assert read["model"][key].dtype == value.dtype.newbyteorder("=")
        assert read["model"][key].flags.writeable


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_nothing_is_run(tmp_path):
    proof = tmp_path / "ran"
    path = written(tmp_path, {"model": _Touch(str(proof))})
    with pytest.raises(DataError, match="mkdir, which is no part of an array"):
        read_arrays(path)
    assert not proof.exists()
    pickle.loads(path.read_bytes())
    assert proof.exists(), "the file would have run code"


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}], dtype=object),
        np.zeros(2, dtype=[("x", "f4")]),
        np.array(["a"]),
        np.random.default_rng(),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
    ],
    ids=["objects", "records", "text", "generator", "dates"],
)
def test_other_objects_are_refused(tmp_path, value):
    with pytest.raises(DataError, match="cannot be read as pickled arrays"):
        read_arrays(written(tmp_path, {"model": value}))


def test_damaged_files_are_refused(tmp_path):
    path = written(tmp_path, {"a": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DataError, match="cannot be read"):
        read_arrays(path)
    with pytest.raises(DataError, match="holds no dict"):
        read_arrays(written(tmp_path, [1, 2]))


@pytest.mark.skipif(
    importlib.util.find_spec("detectron2") is not None, reason="detectron2 is installed here"
)
def test_without_detectron2_the_commands_that_install_it_are_named():
    with pytest.raises(MissingDependencyError, match="detectron2 is not installed") as missing:
        build_detector("detectron2", DetectorOptions())
    assert len(missing.value.hint.splitlines()) == 2
