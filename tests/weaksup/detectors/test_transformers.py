"""Hugging Face's detectors against the package's own post-processing, region by region."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from weaksup.detectors.transformers_networks import grounding_texts
from weaksup.detectors.transformers_weights import load_transformers_detector
from weaksup.errors import DataError
from weaksup.types import Image

hf = pytest.importorskip("transformers", reason="transformers is not installed")

DECODERS = ["detr", "conditional_detr", "deformable_detr", "rt_detr", "rt_detr_v2", "d_fine"]
GROUNDING = ["grounding-dino", "mm-grounding-dino"]
PATCHES = ["owlvit", "owlv2"]
KINDS = [*DECODERS, *GROUNDING, *PATCHES]
ONE_SIZE = {"rt_detr", "rt_detr_v2", "d_fine", *PATCHES}
ASKED = ("ball", "tree", "car", "dog")
EVERYTHING = {"score_threshold": 0.0, "min_regions": 1, "max_regions": 1000}


def detector_of(folder, kind, **settings):
    labels = None if kind in DECODERS else settings.pop("labels", ASKED)
    return load_transformers_detector(str(folder), labels=labels, device="cpu", **settings)


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)[:height, :width]
    return Image(id=f"{seed}.png", pixels=np.ascontiguousarray(pixels), size=(height, width))


IMAGES = [picture(80, 104), picture(96, 64, seed=1), picture(57, 71, seed=2)]
SIZES = [image.pixels.shape[:2] for image in IMAGES]


@torch.no_grad()
def own_outputs(folder, kind, images, *, text=None):
    """The package's image processor, and what its model says."""
    processor = hf.AutoImageProcessor.from_pretrained(folder)
    inputs = dict(processor(images=[image.pixels for image in images], return_tensors="pt"))
    if kind in DECODERS:
        return processor, hf.AutoModelForObjectDetection.from_pretrained(folder)(**inputs)
    model = hf.AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    return processor, model(**inputs, **text)


def clipped(boxes, size):
    height, width = size
    return np.clip(boxes.numpy(), 0, np.array([width, height, width, height], np.float32))


def is_left(boxes):
    """Of boxes outside the picture clipping leaves nothing."""
    return torch.from_numpy(((boxes[:, 2:] - boxes[:, :2]) >= 1e-2).all(axis=1))


def by_score(result):
    order = torch.sort(-result["scores"], stable=True).indices
    return {name: values[order] for name, values in result.items()}


def assert_same(seen, own, size, *, rows, cut=False):
    """Boxes, scores and labels, region by region; ``rows`` maps the network's labels.

    ``cut`` where the package gives only as many pairs of query and class as there are queries.
    """
    left = is_left(clipped(own["boxes"], size))
    own = {name: values[left] for name, values in own.items()}
    count = len(own["scores"])
    assert len(seen.scores) == count + 1 or (len(seen.scores) > count + 1 and cut)
    assert count > 3
    np.testing.assert_allclose(seen.scores[1 : count + 1], own["scores"].numpy(), atol=1e-5)
    np.testing.assert_allclose(seen.boxes[1 : count + 1], clipped(own["boxes"], size), atol=1e-2)
    np.testing.assert_array_equal(
        seen.objects[1 : count + 1], [rows[label] for label in own["labels"].tolist()]
    )


@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_find_what_the_packages_post_processing_finds(tiny_model, kind):
    folder = tiny_model(kind)
    seen = detector_of(folder, kind, **EVERYTHING).detect(IMAGES)
    processor, outputs = own_outputs(folder, kind, IMAGES)
    top = {"top_k": 48} if kind in ("conditional_detr", "deformable_detr") else {}
    own = processor.post_process_object_detection(
        outputs, threshold=-1.0, target_sizes=SIZES, **top
    )
    for row, (one, other) in enumerate(zip(seen, map(by_score, own), strict=True)):
        # The second class is called N/A: nothing is reported of it.
        named = other["labels"] != 1
        other = {name: values[named] for name, values in other.items()}
        assert_same(one, other, SIZES[row], rows={0: 0, 2: 1, 3: 2}, cut=kind in ONE_SIZE)
        for box, feature in list(zip(one.boxes, one.features, strict=True))[1:]:
            assert_a_query_has_both(outputs, row, box, feature, SIZES[row])


def corners_of(outputs, row, size):
    height, width = size
    centre, sides = outputs.pred_boxes[row, :, :2], outputs.pred_boxes[row, :, 2:]
    corners = torch.cat([centre - sides / 2, centre + sides / 2], 1)
    return corners * torch.tensor([width, height, width, height])


def assert_a_query_has_both(outputs, row, box, feature, size):
    boxes = clipped(corners_of(outputs, row, size), size)
    same_box = np.abs(boxes - box).max(axis=1) < 1e-2
    states = outputs.last_hidden_state[row].numpy()
    same_feature = np.abs(states - feature).max(axis=1) < 1e-4
    assert (same_box & same_feature).any()


@pytest.mark.parametrize("kind", ["detr", "conditional_detr", "deformable_detr"])
def test_the_whole_image_is_the_mean_of_the_encoders_map(tiny_model, kind):
    folder = tiny_model(kind)
    (seen,) = detector_of(folder, kind).detect(IMAGES[:1])
    _, outputs = own_outputs(folder, kind, IMAGES[:1])
    expected = outputs.encoder_last_hidden_state[0].mean(dim=0)
    np.testing.assert_allclose(seen.features[0], expected.numpy(), atol=1e-5)
    np.testing.assert_array_equal(seen.boxes[0], [0, 0, 104, 80])
    assert (seen.scores[0], seen.objects[0]) == (1, -1)


def test_padding_is_no_part_of_the_whole_image(tiny_model):
    folder = tiny_model("detr")
    images = [picture(64, 64), picture(64, 96, seed=1)]
    seen = detector_of(folder, "detr").detect(images)[0]
    _, outputs = own_outputs(folder, "detr", images)
    # The map has a stride of 16 and the narrow picture four of its six columns.
    whole = outputs.encoder_last_hidden_state[0].reshape(4, 6, -1)
    inner = whole[:, :4].mean(dim=(0, 1))
    assert (whole.mean(dim=(0, 1)) - inner).abs().max() > 1e-3
    np.testing.assert_allclose(seen.features[0], inner.numpy(), atol=1e-5)


def grounding_text(folder, names, images):
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    texts = [". ".join(names) + "."] * len(images)
    return tokenizer, dict(tokenizer(texts, return_tensors="pt"))


@pytest.mark.parametrize("kind", GROUNDING)
def test_grounding_finds_what_the_packages_post_processing_finds(tiny_model, kind):
    folder = tiny_model(kind)
    seen = detector_of(folder, kind, **EVERYTHING).detect(IMAGES)
    tokenizer, text = grounding_text(folder, ASKED, IMAGES)
    image_processor, outputs = own_outputs(folder, kind, IMAGES, text=text)
    processor = hf.GroundingDinoProcessor(image_processor, tokenizer)
    # Dots and ends have probabilities, too: in a trained network they are about nothing.
    words = torch.isin(text["input_ids"], torch.tensor([101, 102, 1012]), invert=True)
    outputs.logits[..., : words.shape[1]].masked_fill_(~words[:, None], -torch.inf)
    own = processor.post_process_grounded_object_detection(
        outputs, text["input_ids"], threshold=-1.0, target_sizes=SIZES
    )
    for row, (one, other) in enumerate(zip(seen, own, strict=True)):
        probabilities = outputs.logits[row].sigmoid()[:, words[row].nonzero()[:, 0]]
        best = {**dict(other.items()), "labels": probabilities.argmax(dim=1)}
        best = by_score({name: best[name] for name in ("scores", "boxes", "labels")})
        assert_same(one, best, SIZES[row], rows={0: 0, 1: 1, 2: 2, 3: 3})
        for box, feature in list(zip(one.boxes, one.features, strict=True))[1:]:
            assert_a_query_has_both(outputs, row, box, feature, SIZES[row])
    (alone,) = detector_of(folder, kind).detect(IMAGES[:1])
    _, outputs = own_outputs(folder, kind, IMAGES[:1], text={k: v[:1] for k, v in text.items()})
    expected = outputs.encoder_last_hidden_state_vision[0].mean(dim=0)
    np.testing.assert_allclose(alone.features[0], expected.numpy(), atol=1e-5)


def test_a_name_of_several_words_scores_their_mean(tiny_model):
    folder, names = tiny_model("grounding-dino"), ("traffic light", "dog")
    detector = detector_of(folder, "grounding-dino", labels=names, **EVERYTHING)
    (seen,) = detector.detect(IMAGES[:1])
    _, text = grounding_text(folder, names, IMAGES[:1])
    _, outputs = own_outputs(folder, "grounding-dino", IMAGES[:1], text=text)
    left = is_left(clipped(corners_of(outputs, 0, SIZES[0]), SIZES[0]))
    expected = []
    for query in outputs.logits[0].sigmoid()[left].tolist():
        # [CLS] traffic light . dog . [SEP]
        score, name = max(((query[1] + query[2]) / 2, 0), (query[4], 1))
        expected.append((score, name))
    expected.sort(reverse=True)
    np.testing.assert_allclose(seen.scores[1:], [score for score, _ in expected], atol=1e-5)
    assert seen.objects[1:].tolist() == [name for _, name in expected]
    assert set(seen.objects[1:].tolist()) == {0, 1}


def test_the_text_is_the_packages_own(tiny_model):
    folder = tiny_model("grounding-dino")
    names = ["ball", "red car", "traffic light"]
    tokenizer, own = grounding_text(folder, names, IMAGES[:1])
    (text,) = grounding_texts(tokenizer, ["Ball", "red_car", "traffic light,lights"], longest=16)
    assert text.tokens == own["input_ids"][0].tolist()
    words = tokenizer.convert_ids_to_tokens(text.tokens)
    assert [words[begin:end] for begin, end in text.spans] == [name.split() for name in names]


def test_long_lists_are_several_texts(tiny_model):
    folder = tiny_model("grounding-dino")
    names = ["ball", "tree", "red", "car", "house", "dog", "light", "traffic"]
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    texts = grounding_texts(tokenizer, names, longest=16)
    assert [len(text.spans) for text in texts] == [7, 1]
    assert max(len(text.tokens) for text in texts) <= 16
    together = detector_of(folder, "grounding-dino", labels=names, **EVERYTHING)
    parts = [
        detector_of(folder, "grounding-dino", labels=part, **EVERYTHING)
        for part in (names[:7], names[7:])
    ]
    (seen,) = together.detect(IMAGES[:1])
    first, second = (part.detect(IMAGES[:1])[0] for part in parts)
    scores = np.concatenate([first.scores[1:], second.scores[1:]])
    order = np.argsort(-scores, kind="stable")
    labels = np.concatenate([first.objects[1:], second.objects[1:] + 7])
    np.testing.assert_allclose(seen.scores[1:], scores[order], atol=1e-5)
    np.testing.assert_array_equal(seen.objects[1:], labels[order])
    features = np.concatenate([first.features[1:], second.features[1:]])
    np.testing.assert_allclose(seen.features[1:], features[order], atol=1e-4)
    mean = (first.features[0] + second.features[0]) / 2
    np.testing.assert_allclose(seen.features[0], mean, atol=1e-5)
    with pytest.raises(DataError, match="'red red red red red red red red' is 8 tokens"):
        grounding_texts(tokenizer, [" ".join(["red"] * 8)], longest=10)
    with pytest.raises(DataError, match="is 0 tokens"):
        grounding_texts(tokenizer, ["..."], longest=10)


@pytest.mark.parametrize("names", [ASKED, ("ball",)], ids=len)
@pytest.mark.parametrize("kind", PATCHES)
def test_patches_find_what_the_packages_post_processing_finds_once(tiny_model, kind, names):
    folder = tiny_model(kind)
    seen = detector_of(folder, kind, labels=names, **EVERYTHING).detect(IMAGES)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    prompts = [f"a photo of a {name}" for name in names] * len(IMAGES)
    text = tokenizer(prompts, padding="max_length", max_length=16, return_tensors="pt")
    text = {name: text[name] for name in ("input_ids", "attention_mask")}
    processor, outputs = own_outputs(folder, kind, IMAGES, text=text)
    own = processor.post_process_object_detection(
        outputs, threshold=-1.0, target_sizes=torch.tensor(SIZES)
    )
    suppressed = 0
    for row, (one, other) in enumerate(zip(seen, own, strict=True)):
        other = by_score(other)
        other["boxes"] = torch.from_numpy(clipped(other["boxes"], SIZES[row]))
        left = is_left(other["boxes"].numpy())
        other = {name: values[left] for name, values in other.items()}
        kept = batched_nms(other["boxes"], other["scores"], other["labels"], 0.5)
        other = {name: values[kept] for name, values in other.items()}
        suppressed += int(left.sum()) - len(kept)
        assert_same(one, other, SIZES[row], rows=range(4))
        patches = outputs.image_embeds[row].flatten(0, 1).numpy()
        for feature in one.features[1:]:
            assert np.abs(patches - feature).max(axis=1).min() < 1e-4
        rows, columns = 4, 4
        if kind == "owlv2":
            # 64 pixels and patches of 16: of the picture are those whose centre it covers.
            height, width = SIZES[row]
            side = max(height, width)
            rows = round(4 * height / side)
            columns = round(4 * width / side)
        inner = outputs.image_embeds[row][:rows, :columns].mean(dim=(0, 1)).numpy()
        np.testing.assert_allclose(one.features[0], inner, atol=1e-5)
    assert suppressed > 0 or len(names) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_is_a_part_of_a_batch_of_many(tiny_model, kind):
    detector = detector_of(tiny_model(kind), kind)
    images = IMAGES if kind in ONE_SIZE else [picture(80, 104, seed) for seed in range(3)]
    for together, image in zip(detector.detect(images), images, strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-2)
        # A batch of another size is summed in another order.
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-4)
        np.testing.assert_allclose(together.features, alone.features, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(together.objects, alone.objects)
    assert detector.detect([]) == []
    assert detector.concurrent is False


def test_pictures_differ(tiny_model):
    """Or the comparisons above would compare constants."""
    for kind in KINDS:
        one, other = detector_of(tiny_model(kind), kind).detect([IMAGES[0], IMAGES[2]])
        difference = np.abs(one.features[0] - other.features[0]).max()
        assert difference > 1e-2 * np.abs(one.features[0]).max()
        assert np.ptp(one.features[1:], axis=0).max() > 1e-3
        assert np.ptp(one.scores[1:]) > 1e-3


@pytest.mark.parametrize("kind", ["detr", "rt_detr", "grounding-dino", "owlv2"])
def test_how_many_regions(tiny_model, kind):
    folder = tiny_model(kind)
    everything = detector_of(folder, kind, **EVERYTHING).detect(IMAGES[:1])[0]
    assert len(everything.boxes) > 6
    few = detector_of(folder, kind, score_threshold=0.0, min_regions=1, max_regions=4)
    np.testing.assert_array_equal(few.detect(IMAGES[:1])[0].scores, everything.scores[:4])
    filled = detector_of(folder, kind, score_threshold=1.0, min_regions=6, max_regions=9)
    np.testing.assert_array_equal(filled.detect(IMAGES[:1])[0].boxes, everything.boxes[:6])
    alone = detector_of(folder, kind, score_threshold=0.0, min_regions=1, max_regions=1)
    assert len(alone.detect(IMAGES[:1])[0].boxes) == 1


@pytest.mark.parametrize("kind", ["detr", "deformable_detr", "rt_detr", "grounding-dino", "owlv2"])
@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (1, 5)])
def test_strange_formats_give_regions_inside_the_picture(tiny_model, kind, size):
    (seen,) = detector_of(tiny_model(kind), kind, min_regions=3).detect([picture(*size)])
    assert np.isfinite(seen.features).all()
    assert (seen.boxes >= 0).all()
    assert (seen.boxes <= np.array([size[1], size[0]] * 2)).all()
    np.testing.assert_array_equal(seen.boxes[0], [0, 0, size[1], size[0]])


def test_pictures_that_must_not_be_written_to_are_not(tiny_model):
    image = picture(80, 104)
    image.pixels.flags.writeable = False
    detector = detector_of(tiny_model("rt_detr"), "rt_detr")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (seen,) = detector.detect([image])
    np.testing.assert_array_equal(seen.scores, detector.detect([picture(80, 104)])[0].scores)


@pytest.mark.parametrize("kind", ["rt_detr", "grounding-dino", "owlvit"])
def test_without_features(tiny_model, kind):
    detector = detector_of(tiny_model(kind), kind, with_features=False)
    (seen,) = detector.detect(IMAGES[:1])
    (full,) = detector_of(tiny_model(kind), kind).detect(IMAGES[:1])
    assert detector.feature_size == 0
    assert seen.features.shape == (len(full.boxes), 0)
    np.testing.assert_array_equal(seen.boxes, full.boxes)
    assert detector.provenance.settings["features"] == "none"


@pytest.mark.parametrize("kind", KINDS)
def test_reduced_precision_gives_nearly_the_same(tiny_model, kind):
    (full,) = detector_of(tiny_model(kind), kind).detect(IMAGES[:1])
    reduced = detector_of(tiny_model(kind), kind, precision="bf16")
    assert reduced.provenance.settings["precision"] == "bfloat16"
    (seen,) = reduced.detect(IMAGES[:1])
    difference = np.linalg.norm(seen.features[0] - full.features[0])
    assert 0 < difference < 0.1 * np.linalg.norm(full.features[0])
