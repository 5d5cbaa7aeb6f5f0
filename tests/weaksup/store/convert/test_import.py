"""Stores of features in files as other tools write them, against what was written."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weaksup.corpora import read_corpus
from weaksup.errors import DataError, UsageError
from weaksup.store import open_store
from weaksup.store.convert.importing import import_regions
from weaksup.store.convert.names import image_ids
from weaksup.store.convert.plan import plan_precomp
from weaksup.store.convert.precomp_writer import write_precomp
from weaksup.store.convert.source import fractions
from weaksup.types import STATUS_UNREADABLE, CaptionedImage, Corpus


@dataclass(frozen=True)
class Foreign:
    """An image of another tool: boxes in pixels, R regions of width D.

    Attributes:
        name: as the tool calls it.
        size: height and width.
        boxes: (R, 4) float32.
        features: (R, D) float32.
    """

    name: str
    size: tuple[int, int]
    boxes: np.ndarray
    features: np.ndarray

    @property
    def fractions(self) -> np.ndarray:
        height, width = self.size
        return self.boxes / np.array([width, height, width, height], np.float32)


@pytest.fixture
def foreign() -> list[Foreign]:
    """Three images with 4, 2 and 3 regions of width 6, none over the whole image."""
    generator = np.random.default_rng(5)
    found = []
    for number, count in enumerate((4, 2, 3)):
        size = (100 + number, 200)
        corners = np.sort(generator.random((count, 2, 2), dtype=np.float32), axis=1) * 0.9
        boxes = corners.reshape(count, 4) * np.array([size[1], size[0]] * 2, np.float32)
        features = generator.normal(size=(count, 6)).astype(np.float32)
        found.append(Foreign(f"img{number}", size, boxes, features))
    return found


def write_npz(folder: Path, image: Foreign, **changes: Any) -> Path:
    """As bottom-up-attention.pytorch does, with its pickled ``info``."""
    content: dict[str, Any] = {
        "x": image.features,
        "bbox": image.boxes,
        "num_bbox": len(image.boxes),
        "image_h": image.size[0],
        "image_w": image.size[1],
        "info": {"objects_id": [1, 2]},
        **changes,
    }
    path = folder / f"{image.name}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{key: v for key, v in content.items() if v is not None})
    return path


def tsv_line(image: Foreign, *, lxmert: bool = False) -> bytes:
    """A line of bottom-up attention's tsv, or of LXMERT's."""
    height, width = (str(side).encode() for side in image.size)
    count = str(len(image.boxes)).encode()
    arrays = [base64.b64encode(array.tobytes()) for array in (image.boxes, image.features)]
    name = image.name.encode()
    if lxmert:
        classes = [base64.b64encode(np.zeros(len(image.boxes), np.int64).tobytes())] * 4
        return b"\t".join([name, height, width, *classes, count, *arrays]) + b"\n"
    return b"\t".join([name, width, height, count, *arrays]) + b"\n"


def write_tsv(path: Path, images: list[Foreign], *, lxmert: bool = False) -> Path:
    path.write_bytes(b"".join(tsv_line(image, lxmert=lxmert) for image in images))
    return path


def check(store_file: Path, images: list[Foreign], suffix: str = ".jpg") -> None:
    """The store has the whole image as the mean of the regions, then the regions."""
    store = open_store(store_file)
    assert store.ids == [image.name + suffix for image in images]
    assert store.sizes.tolist() == [list(image.size) for image in images]
    for index, image in enumerate(images):
        regions = store.regions(index)
        assert regions.boxes[0].tolist() == [0, 0, 1, 1]
        assert np.allclose(regions.boxes[1:], image.fractions, atol=1e-6)
        assert np.array_equal(regions.features[1:], image.features.astype(np.float16))
        assert np.allclose(regions.features[0], image.features.mean(0), atol=2e-3)
        assert (regions.scores == 1).all()
        assert (regions.objects == -1).all()


# npz


def test_npz_with_regions_in_rows_or_in_columns(tmp_path, foreign):
    first, second, third = foreign
    write_npz(tmp_path / "in", first)
    write_npz(tmp_path / "in", second, x=second.features.T)
    write_npz(tmp_path / "in", third, x=None, features=third.features.T, bbox=third.boxes.T)
    report = import_regions(tmp_path / "in", tmp_path / "regions.h5")
    assert (report.format, report.images, report.feature_size) == ("npz", 3, 6)
    assert report.captions is None
    check(tmp_path / "regions.h5", foreign)
    provenance = open_store(tmp_path / "regions.h5").provenance
    assert provenance.detector == "imported:npz"
    assert provenance.settings["source"] == "in"


def test_where_both_layouts_fit_the_width_of_the_others_decides(tmp_path, foreign):
    """As many regions as channels: only the other files say which is which."""
    first, second, _ = foreign
    square = replace(
        second,
        boxes=np.tile(first.boxes[:1], (6, 1)),
        features=np.arange(36, dtype=np.float32).reshape(6, 6),
    )
    write_npz(tmp_path / "in", first)
    write_npz(tmp_path / "in", square)
    import_regions(tmp_path / "in", tmp_path / "regions.h5")
    check(tmp_path / "regions.h5", [first, square])


def test_npz_in_subfolders_padded_and_named_with_their_suffix(tmp_path, foreign):
    image = replace(foreign[0], name="val/img0.jpg")
    more = np.concatenate([image.boxes, np.zeros((3, 4), np.float32)])
    padded = np.concatenate([image.features, np.zeros((3, 6), np.float32)])
    write_npz(tmp_path / "in", image, x=padded, bbox=more)
    import_regions(tmp_path / "in", tmp_path / "regions.h5")
    check(tmp_path / "regions.h5", [image], suffix="")


def test_a_pickled_info_is_never_read(tmp_path, foreign):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    trap = np.array([Trap()], dtype=object)
    path = write_npz(tmp_path / "in", foreign[0], info=trap)
    import_regions(tmp_path / "in", tmp_path / "regions.h5")
    assert not (tmp_path / "sprung").exists()
    with np.load(path, allow_pickle=True) as content:  # it would have been sprung
        content["info"]
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "has no x or features"),
        ({"bbox": None}, "has no bbox or boxes"),
        ({"x": np.zeros((5, 6), np.float32)}, r"features are \(5, 6\), and it has 4 boxes"),
        ({"x": np.array([{}], dtype=object)}, "damaged"),
        ({"x": np.full((4, 6), np.nan, np.float32)}, "not finite"),
        ({"num_bbox": 9}, "4 boxes, and 9 regions"),
        ({"num_bbox": 0}, "no region"),
        ({"num_bbox": np.zeros(3)}, "expected a number"),
        ({"image_h": None}, "the size of its image is not known"),
        ({"image_h": 10, "image_w": 10}, "outside the image of 10x10"),
        ({"x": np.zeros(24, np.float32)}, "expected two axes"),
        ({"bbox": np.full((4, 4), np.inf)}, "not finite"),
    ],
)
def test_a_damaged_npz_is_named_with_what_is_wrong(tmp_path, foreign, changes, message):
    write_npz(tmp_path / "in", foreign[1])
    bad = write_npz(tmp_path / "in", foreign[0], **changes)
    write_npz(tmp_path / "in", foreign[2])
    with pytest.raises(DataError, match=message) as error:
        import_regions(tmp_path / "in", tmp_path / "regions.h5")
    assert bad.stem in error.value.message
    assert not (tmp_path / "regions.h5").exists()


def test_a_shortened_npz_is_named(tmp_path, foreign):
    for image in foreign:
        bad = write_npz(tmp_path / "in", image)
    content = bad.read_bytes()
    for size in (0, 10, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:size])
        with pytest.raises(DataError, match=bad.name):
            import_regions(tmp_path / "in", tmp_path / "regions.h5", overwrite=True)
    bad.write_bytes(content)
    with pytest.raises(UsageError, match="files_sha256"):  # other files than it was begun with
        import_regions(tmp_path / "in", tmp_path / "regions.h5")
    import_regions(tmp_path / "in", tmp_path / "regions.h5", overwrite=True)
    check(tmp_path / "regions.h5", foreign)


# tsv


@pytest.mark.parametrize("lxmert", [False, True])
def test_tsv(tmp_path, foreign, lxmert):
    path = write_tsv(tmp_path / "features.tsv", foreign, lxmert=lxmert)
    report = import_regions(path, tmp_path / "regions.h5")
    assert report.format == "tsv"
    check(tmp_path / "regions.h5", foreign)


def test_tsv_in_parts_with_images_that_occur_again(tmp_path, foreign):
    first, second, third = foreign
    (tmp_path / "in").mkdir()
    write_tsv(tmp_path / "in/features.tsv.0", [first, second])
    write_tsv(tmp_path / "in/features.tsv.1", [second, third, first])
    report = import_regions(tmp_path / "in", tmp_path / "regions.h5")
    check(tmp_path / "regions.h5", foreign)
    assert "2 lines are of images that were there already" in report.notes


def test_tsv_with_titles_and_the_text_of_bytes(tmp_path, foreign):
    image = foreign[0]
    fields = tsv_line(image).rstrip().split(b"\t")
    fields[4:] = [b"b'%s'" % field for field in fields[4:]]
    titles = b"image_id\timage_w\timage_h\tnum_boxes\tboxes\tfeatures\n"
    (tmp_path / "in.tsv").write_bytes(titles + b"\t".join(fields) + b"\r\n")
    import_regions(tmp_path / "in.tsv", tmp_path / "regions.h5")
    check(tmp_path / "regions.h5", [image])


def test_a_tsv_that_ends_early_is_named_with_its_line(tmp_path, foreign):
    path = write_tsv(tmp_path / "features.tsv", foreign)
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in range(start + 1, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"features\.tsv: line 3") as error:
            import_regions(path, tmp_path / "regions.h5", overwrite=True)
        assert error.value.exit_code == 3
    path.write_bytes(whole)
    import_regions(path, tmp_path / "regions.h5", overwrite=True)
    check(tmp_path / "regions.h5", foreign)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, b"", "image_id is empty"),
        (0, b"\xff", "no UTF-8"),
        (1, b"wide", "width is b'wide'"),
        (3, b"0", "no region"),
        (3, b"3", "numbers of boxes for 3 regions"),
        (4, b"???", "boxes is no base64"),
        (5, b"AAA=", "no base64 of float32"),
        (5, b"", "do not divide"),
        (5, base64.b64encode(np.zeros(8, np.float32).tobytes()), "have width 2"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, foreign, place, value, message):
    fields = tsv_line(foreign[0]).rstrip().split(b"\t")
    fields[place] = value
    good = replace(foreign[1], name="good")
    (tmp_path / "f.tsv").write_bytes(tsv_line(good) + b"\t".join(fields) + b"\n")
    with pytest.raises(DataError, match=message) as error:
        import_regions(tmp_path / "f.tsv", tmp_path / "regions.h5")
    assert "line 2" in error.value.message or "width" in error.value.message


def test_an_interrupted_import_goes_on(tmp_path, foreign, datasets):
    images = [
        replace(foreign[0], name=f"i{n}", features=foreign[0].features + n) for n in range(150)
    ]
    path = write_tsv(tmp_path / "f.tsv", images)
    import_regions(path, tmp_path / "whole.h5")

    def stop(done, total):
        assert total == 150
        if done == 140:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_regions(path, tmp_path / "regions.h5", progress=stop)
    assert not (tmp_path / "regions.h5").exists()
    journal = tmp_path / "regions.h5.partial/journal.jsonl"
    assert len(journal.read_text().splitlines()) == 2
    import_regions(path, tmp_path / "regions.h5")
    assert datasets(tmp_path / "regions.h5") == datasets(tmp_path / "whole.h5")


# the whole image


@pytest.mark.parametrize(("covered", "count"), [(0.99, 3), (0.97, 4)])
def test_a_region_over_the_whole_image_is_taken_for_it(tmp_path, foreign, covered, count):
    image = foreign[2]
    boxes = image.boxes.copy()
    boxes[1] = [0, 0, image.size[1] * covered, image.size[0]]
    write_tsv(tmp_path / "f.tsv", [replace(image, boxes=boxes)])
    import_regions(tmp_path / "f.tsv", tmp_path / "regions.h5")
    regions = open_store(tmp_path / "regions.h5").regions(0)
    assert len(regions) == count
    assert regions.boxes[0].tolist() == [0, 0, 1, 1]
    if count == 3:
        expected = image.features[[1, 0, 2]].astype(np.float16)
        assert np.array_equal(regions.features, expected)


@given(
    st.integers(1, 5000),
    st.integers(1, 5000),
    st.lists(st.tuples(*[st.floats(0, 1)] * 4), min_size=1, max_size=5),
)
def test_fractions_undo_pixels(height, width, corners):
    expected = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners])
    pixels = expected * [width, height, width, height]
    if pixels.max() > 1:  # else they are fractions already
        assert np.allclose(fractions(pixels, (height, width), where=""), expected, atol=1e-6)
    assert np.allclose(fractions(expected, (0, 0), where=""), expected, atol=1e-6)


# precomp


@pytest.fixture
def exported(make_example, tmp_path):
    """A store and its export: 14 images, the two unreadable ones left out."""
    store = open_store(make_example(images=14, slots=0).write(tmp_path / "original.h5"))
    splits = ["train"] * 8 + ["val"] * 3 + ["test"] * 3
    images = tuple(
        CaptionedImage(name, tuple(f"no {k} of {name}" for k in range(5)), split)
        for name, split in zip(store.ids, splits, strict=True)
    )
    plan = plan_precomp(Corpus(images, "c", "table", "f"), store, None, captions_per_image=5)
    write_precomp(
        tmp_path / "p", store, plan, max_regions=36, standardize=False, tokenize=str.split
    )
    return store, images


def test_there_and_back_again(exported, tmp_path):
    store, images = exported
    report = import_regions(tmp_path / "p", tmp_path / "again.h5")
    again = open_store(tmp_path / "again.h5")
    readable = [i for i, s in zip(images, store.status, strict=True) if s != STATUS_UNREADABLE]
    assert again.ids == [image.id for image in readable]
    for index, name in enumerate(again.ids):
        before, after = store.regions(store.index(name)), again.regions(index)
        assert np.array_equal(after.features, before.features)
    assert read_corpus(report.captions).images == tuple(readable)
    exported_from = again.provenance.settings["exported_from"]
    assert exported_from["detector"] == store.provenance.detector
    assert exported_from["store_fingerprint"] == store.fingerprint


def test_others_precomp_folder_has_no_whole_image(exported, tmp_path):
    store, _ = exported
    (tmp_path / "p/precomp.json").unlink()
    for path in (tmp_path / "p").glob("*_lens.npy"):  # padding is then told by its zeros
        path.unlink()
    import_regions(tmp_path / "p", tmp_path / "again.h5")
    again = open_store(tmp_path / "again.h5")
    for index, name in enumerate(again.ids):
        before, after = store.regions(store.index(name)).features, again.regions(index)
        assert np.array_equal(after.features[1:], before)
        assert np.allclose(after.features[0], before.mean(0), atol=2e-3)
        assert (after.boxes == [0, 0, 1, 1]).all()


def write_split(folder, split, features, captions, ids=None):
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{split}_ims.npy", features)
    (folder / f"{split}_caps.txt").write_text("".join(f"{c}\n" for c in captions))
    if ids is not None:
        (folder / f"{split}_ids.txt").write_text("".join(f"{i}\n" for i in ids))
    return folder


def test_coco_as_scan_has_it(tmp_path):
    """Ids are numbers, one a caption; `test` is a part of `testall`."""
    features = np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 1
    captions = [f"caption {k}" for k in range(10)]
    folder = write_split(tmp_path / "p", "testall", features, captions, [7] * 5 + [391895] * 5)
    write_split(folder, "test", features[:1], captions[:5], [7] * 5)
    images = ["val2014/COCO_val2014_000000391895.jpg", "val2014/COCO_val2014_000000000007.jpg"]
    report = import_regions(folder, tmp_path / "regions.h5", images=[*images, "val2014/other.jpg"])
    assert open_store(tmp_path / "regions.h5").ids == images[::-1]
    assert (report.missing, report.unused) == ([], 1)
    assert any("testall was read" in note for note in report.notes)
    corpus = read_corpus(report.captions)
    assert [image.split for image in corpus.images] == ["test", "test"]
    assert corpus.images[1].captions == tuple(captions[5:])


def test_what_is_a_part_of_testall_needs_no_features_of_its_own(tmp_path):
    captions = [f"caption {k}" for k in range(5)]
    folder = write_split(tmp_path / "p", "testall", np.ones((1, 3, 4), np.float32), captions)
    (folder / "test_caps.txt").write_text("caption 0\n")
    assert import_regions(folder, tmp_path / "regions.h5").images == 1


def test_one_vector_an_image_and_no_ids(tmp_path):
    """As VSE++ has them: the vector is the whole image."""
    features = np.arange(12, dtype=np.float32).reshape(3, 4)
    folder = write_split(tmp_path / "p", "dev", features, [f"c{k}" for k in range(15)])
    report = import_regions(folder, tmp_path / "regions.h5")
    store = open_store(tmp_path / "regions.h5")
    assert store.ids == ["dev-000000.jpg", "dev-000001.jpg", "dev-000002.jpg"]
    assert np.array_equal(store.gather([0, 1, 2]).features[:, 0], features)
    assert np.diff(store.offsets).tolist() == [1, 1, 1]
    assert any("there is no dev_ids.txt" in note for note in report.notes)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: (f / "dev_caps.txt").unlink(), "dev_caps.txt does not exist"),
        (lambda f: (f / "train_ims.npy").unlink(), "train_ims.npy is missing, and train_caps.txt"),
        (lambda f: (f / "dev_caps.txt").write_text("one\n" * 14), "14 captions, which is no mult"),
        (lambda f: (f / "dev_caps.txt").write_bytes(b"\xff\n" * 15), "cannot be read"),
        (lambda f: (f / "dev_ids.txt").write_text("a\nb\n"), "2 ids for 3 rows"),
        (lambda f: (f / "train_ids.txt").write_text("a\nb\nd\n"), "the image a is both in"),
        (lambda f: (f / "dev_ims.npy").write_bytes(b"\x93NUMPY"), "damaged, or no array"),
        (
            lambda f: (f / "dev_ims.npy").write_bytes((f / "dev_ims.npy").read_bytes()[:-1]),
            "damaged, or no array",
        ),
        (lambda f: np.save(f / "dev_ims.npy", np.array([{}])), "damaged, or no array"),
        (lambda f: np.save(f / "dev_ims.npy", np.ones((3, 2, 5), "f4")), "of width 5"),
        (lambda f: np.save(f / "dev_ims.npy", np.full((3, 2, 4), np.inf)), "not finite"),
        (lambda f: np.save(f / "dev_lens.npy", np.array([1, 2, 3])), "numbers of regions, 1 to 2"),
        (lambda f: shutil.copy(f / "dev_ims.npy", f / "odd_ims.npy"), "unknown split"),
        (lambda f: (f / "precomp.json").write_text("{"), "precomp.json cannot be read"),
        (
            lambda f: (f / "precomp.json").write_text('{"format": "weaksup.precomp"}'),
            "has version None",
        ),
    ],
)
def test_a_damaged_precomp_folder_is_named_with_what_is_wrong(tmp_path, break_it, message):
    features = np.ones((3, 2, 4), np.float32)
    folder = write_split(tmp_path / "p", "dev", features, ["c"] * 15, ["a", "b", "c"])
    write_split(folder, "train", features, ["c"] * 15, ["d", "e", "f"])
    break_it(folder)
    with pytest.raises(DataError, match=message):
        import_regions(folder, tmp_path / "regions.h5")
    assert not (tmp_path / "regions.h5").exists()


def test_another_captions_file_is_not_replaced(exported, tmp_path):
    captions = tmp_path / "again-captions.json"
    captions.write_text("mine")
    with pytest.raises(UsageError, match="is in the way"):
        import_regions(tmp_path / "p", tmp_path / "again.h5")
    assert captions.read_text() == "mine"
    import_regions(tmp_path / "p", tmp_path / "again.h5", overwrite=True)
    assert json.loads(captions.read_text())["images"]
    import_regions(tmp_path / "p", tmp_path / "again.h5")  # finished: nothing is in the way


def test_what_is_no_source_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("a\tb\tc\td\te\tf\n")
    for path in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError, match="no region features in a known format"):
            import_regions(path, tmp_path / "regions.h5")


# names


def test_names_find_their_images():
    images = ["a/x.jpg", "b/x.jpg", "b/y.PNG", "COCO_val2014_000000000042.jpg", "12.jpg"]
    found = image_ids(["a/x.jpg", "b/x", "y", "42", "12", "photo-42", "gone"], images)
    assert found.ids == [
        *("a/x.jpg", "b/x.jpg", "b/y.PNG", "COCO_val2014_000000000042.jpg", "12.jpg"),
        *("photo-42.jpg", "gone.jpg"),
    ]
    assert found.missing == ["photo-42.jpg", "gone.jpg"]
    assert found.unused == 0
    with pytest.raises(DataError, match=r"'x' fits several images: a/x\.jpg, b/x\.jpg"):
        image_ids(["x"], images)
    with pytest.raises(DataError, match=r"'y' and 'b/y\.PNG' are both the image b/y.PNG"):
        image_ids(["y", "b/y.PNG"], images)


def test_without_images_the_names_are_the_ids():
    found = image_ids(["1", "a.b", "c.jpeg"], None)
    assert found.ids == ["1.jpg", "a.b.jpg", "c.jpeg"]
    assert found.missing == []
