"""Generated scenes: what is drawn is where it is said to be, and what is said is true."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from pipelines.scenes import (
    COLOURS,
    FORMATS,
    KINDS,
    SceneObject,
    generate_scene,
    write_folder,
    write_scenes,
)
from pipelines.scenes.captions import Speaker, relation
from pipelines.scenes.layout import MAX_OVERLAP, Place, overlap
from pipelines.scenes.scene import draw_object
from pipelines.scenes.shapes import SHAPES
from pipelines.scenes.textures import TEXTURES
from pipelines.scenes.words import BACKGROUNDS, NOUNS
from pipelines.scenes.write import split_of
from weaksup.corpora.read import read_corpus

SCENES = 150
KIND_OF = {noun: kind for kind, nouns in NOUNS.items() for pair in nouns for noun in pair}
COLOUR_OF = {word: colour for colour, (_, words) in COLOURS.items() for word in words}


@pytest.fixture(scope="module")
def scenes():
    return [generate_scene(seed) for seed in range(SCENES)]


def things(scene):
    """A caption's words without its phrases of place: they name no object ("a table of wood")."""
    for caption in scene.captions:
        for place in BACKGROUNDS[scene.background]:
            caption = caption.replace(place, "")
        yield re.findall(r"[a-z-]+", caption)


def thing(kind="ball", colour="red", box=(0, 0, 30, 30), depth=0):
    return SceneObject(kind=kind, colour=colour, size="small", box=box, depth=depth)


def test_a_seed_gives_the_same_scene_again():
    first, again = generate_scene(7), generate_scene(7)
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.objects, first.captions) == (again.objects, again.captions)
    assert generate_scene(8).captions != first.captions


def test_pictures_have_the_formats_and_the_size_that_is_asked_for(scenes):
    assert {scene.image.shape[:2] for scene in scenes} == set(FORMATS)
    assert generate_scene(0, size=(170, 300)).image.shape == (170, 300, 3)
    assert all(scene.image.dtype == np.uint8 for scene in scenes)


def test_everything_that_can_be_drawn_is_drawn(scenes):
    drawn = [thing for scene in scenes for thing in scene.objects]
    assert {thing.kind for thing in drawn} == set(KINDS) == set(SHAPES)
    assert {thing.colour for thing in drawn} == set(COLOURS)
    assert {scene.background for scene in scenes} == set(TEXTURES) == set(BACKGROUNDS)


def test_boxes_lie_inside_the_picture_and_overlap_little(scenes):
    for scene in scenes:
        height, width = scene.image.shape[:2]
        assert 1 <= len(scene.objects) <= 5
        for one in scene.objects:
            x1, y1, x2, y2 = one.box
            assert 0 <= x1 < x2 <= width
            assert 0 <= y1 < y2 <= height
        # The tight boxes may overlap a little more than the places they were put in.
        pairs = [(a.box, b.box) for a in scene.objects for b in scene.objects if a is not b]
        assert all(overlap(first, second) < MAX_OVERLAP + 0.15 for first, second in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_is_tight_around_the_pixels_of_its_object(kind):
    grey = 128
    picture = Image.new("RGB", (120, 120), (grey, grey, grey))
    place = Place(kind=kind, colour="red", size="large", box=(20, 30, 20 + 60, 30 + 70))
    found = draw_object(np.random.default_rng(3), picture, place, 0)
    changed = np.abs(np.asarray(picture).astype(int) - grey).max(axis=2) > 24
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert np.abs(np.array(seen) - np.array(found.box)).max() <= 1


def test_captions_are_five_sentences_in_lower_case_with_the_right_article(scenes):
    for scene in scenes:
        assert len(scene.captions) == 5
        for caption in scene.captions:
            assert caption == caption.lower().strip()
            assert "  " not in caption
            assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", caption)


def test_captions_name_only_what_is_there_in_its_colour(scenes):
    for scene in scenes:
        kinds = {one.kind for one in scene.objects}
        pairs = {(one.colour, one.kind) for one in scene.objects}
        for words in things(scene):
            named = [KIND_OF[word] for word in words if word in KIND_OF]
            assert named
            assert set(named) <= kinds
            for before, after in pairwise(words):
                if before in COLOUR_OF and after in KIND_OF:
                    assert (COLOUR_OF[before], KIND_OF[after]) in pairs


def test_captions_use_other_words_than_the_detector_and_leave_things_out(scenes):
    nouns = [word for scene in scenes for words in things(scene) for word in words]
    nouns = [word for word in nouns if word in KIND_OF]
    own = sum(word in KINDS for word in nouns) / len(nouns)
    assert 0.2 < own < 0.6
    crowded = [scene for scene in scenes if len({one.kind for one in scene.objects}) >= 4]
    assert crowded
    for scene in crowded:
        for words in things(scene):
            assert len({KIND_OF[word] for word in words if word in KIND_OF}) <= 3


@pytest.mark.parametrize(
    ("box", "depth", "expected"),
    [
        ((10, 60, 40, 90), 0, "left"),
        ((160, 60, 190, 90), 0, "right"),
        ((90, 0, 120, 20), 0, "above"),
        ((90, 120, 120, 150), 0, "below"),
        ((125, 60, 150, 90), 0, "near"),
        ((100, 70, 130, 100), 2, "front"),
        ((100, 70, 130, 100), 0, "near"),  # behind it, so not in front of it
    ],
)
def test_relation_to_an_object_in_the_middle(box, depth, expected):
    middle = thing(box=(90, 60, 120, 90), depth=1)
    assert relation(thing(box=box, depth=depth), middle) == expected


def test_a_group_has_the_right_number():
    pair = [thing("boat"), thing("boat"), thing("cup")]
    speaker = Speaker(np.random.default_rng(0), objects=pair, background="sand")
    phrases = {speaker.group() for _ in range(60)}
    assert all(re.match(r"(two|a pair of|a couple of) ", phrase) for phrase in phrases)
    assert any("boats" in phrase for phrase in phrases)
    assert not any(noun in phrase for phrase in phrases for noun in ("cup", "mug"))
    alone = Speaker(np.random.default_rng(0), objects=[thing()], background="sand")
    assert alone.group() is None


def test_written_scenes_are_read_as_a_corpus_with_splits(tmp_path):
    captions = write_scenes(tmp_path / "a", count=10, seed=3)
    corpus = read_corpus(captions)
    assert corpus.format == "karpathy"
    assert [len(corpus.split(name)) for name in ("train", "val", "test")] == [7, 1, 2]
    children = np.random.SeedSequence(3).spawn(10)
    for image, child in zip(corpus.images, children, strict=True):
        scene = generate_scene(child)
        assert image.captions == scene.captions
        with Image.open(tmp_path / "a" / "images" / image.id) as picture:
            stored = np.asarray(picture).astype(int)
        assert np.abs(stored - scene.image).mean() < 10  # JPEG smooths the noise
    assert corpus.images[0].id == "00/00000.jpg"


def test_written_scenes_are_the_same_bytes_again(tmp_path):
    for name in ("a", "b"):
        write_scenes(tmp_path / name, count=4, seed=5)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 5
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_folder_of_scenes_has_the_same_pictures_and_a_table(tmp_path):
    captions = write_folder(tmp_path / "own", count=3, seed=5)
    other = read_corpus(write_scenes(tmp_path / "a", count=3, seed=5))
    corpus = read_corpus(captions)
    assert corpus.format == "table"
    assert [image.captions for image in corpus.images] == [im.captions for im in other.images]
    for image in corpus.images:
        own, same = tmp_path / "own/photos" / image.id, tmp_path / "a/images" / image.id
        assert own.read_bytes() == same.read_bytes()


def test_splits_keep_their_shares():
    splits = [split_of(number, count=200) for number in range(200)]
    assert [splits.count(name) for name in ("train", "val", "test")] == [140, 30, 30]
