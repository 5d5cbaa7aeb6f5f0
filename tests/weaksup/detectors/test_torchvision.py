"""The Faster R-CNN adapter against the model's own forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from weaksup.detectors.demo import FEATURE_SIZE, build_demo_model, load_demo_detector
from weaksup.detectors.torchvision import TorchvisionDetector
from weaksup.errors import MissingDependencyError, UsageError
from weaksup.types import Image

LABELS = ("__background__", "ball", "N/A", "tree")
EVERYTHING = {"score_threshold": 0.0, "min_regions": 1, "max_regions": 10_000}


def random_model():
    torch.manual_seed(0)
    model = build_demo_model(LABELS[1:]).eval()
    # Untrained class scores are all alike: stretched, they spread over the whole range.
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(40)
    return model


def detector_of(model, labels=LABELS, **settings):
    return TorchvisionDetector(
        model=model,
        labels=labels,
        name="torchvision:test",
        weights_sha256="0" * 64,
        device="cpu",
        **settings,
    )


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)[:height, :width]
    return Image(id=f"{seed}.png", pixels=np.ascontiguousarray(pixels), size=(height, width))


def tensor(image):
    return torch.from_numpy(image.pixels.copy()).permute(2, 0, 1).float() / 255


def own_forward(model, images, *, threshold):
    """What the model itself finds, with room for everything."""
    model.roi_heads.score_thresh = threshold
    model.roi_heads.detections_per_img = 10_000
    with torch.inference_mode():
        return model([tensor(image) for image in images])


def assert_same(seen, own, *, shift=1):
    np.testing.assert_allclose(seen.boxes[1:], own["boxes"].numpy(), atol=1e-3)
    np.testing.assert_allclose(seen.scores[1:], own["scores"].numpy(), atol=1e-6)
    np.testing.assert_array_equal(seen.objects[1:], own["labels"].numpy() - shift)


@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_boxes_are_those_of_the_models_own_forward(threshold):
    model = random_model()
    images = [picture(160, 208), picture(320, 200, seed=1), picture(97, 61, seed=2)]
    labels = ("__background__", "a", "b", "c")
    settings = {**EVERYTHING, "score_threshold": threshold}
    seen = detector_of(model, labels, **settings).detect(images)
    own = own_forward(model, images, threshold=threshold)
    assert all(len(one["boxes"]) > 3 for one in own)
    for one, other in zip(seen, own, strict=True):
        assert_same(one, other)


def test_the_packaged_detector_too():
    detector = load_demo_detector(device="cpu", **{**EVERYTHING, "score_threshold": 0.3})
    from pipelines.scenes import generate_scene

    scenes = [generate_scene(seed) for seed in range(4)]
    images = [Image("x", scene.image, scene.image.shape[:2]) for scene in scenes]
    own = own_forward(detector._model, images, threshold=0.3)
    assert sum(len(one["boxes"]) for one in own) >= 4
    for one, other in zip(detector.detect(images), own, strict=True):
        assert_same(one, other)


def test_the_whole_image_comes_first_and_scores_fall():
    image = picture(120, 180)
    (seen,) = detector_of(random_model(), score_threshold=0.1).detect([image])
    np.testing.assert_allclose(seen.boxes[0], [0, 0, 180, 120], rtol=1e-6)
    assert (seen.scores[0], seen.objects[0]) == (1, -1)
    assert np.all(np.diff(seen.scores) <= 0)
    assert (seen.boxes.dtype, seen.features.dtype) == (np.float32, np.float32)
    assert (seen.scores.dtype, seen.objects.dtype) == (np.float32, np.int32)
    assert seen.attributes.shape == (len(seen.boxes), 0)


def test_features_are_the_box_heads_output_region_by_region():
    model = random_model()
    image = picture(200, 240)
    (seen,) = detector_of(model, score_threshold=0.1).detect([image])
    assert seen.features.shape == (len(seen.boxes), FEATURE_SIZE)
    with torch.inference_mode():
        batch, _ = model.transform([tensor(image)])
        maps = model.backbone(batch.tensors)
        height, width = batch.image_sizes[0]
        zoom = torch.tensor([width / 240, height / 200] * 2)
        for box, feature in zip(seen.boxes, seen.features, strict=True):
            rows = [torch.from_numpy(box)[None] * zoom]
            pooled = model.roi_heads.box_roi_pool(maps, rows, batch.image_sizes)
            expected = model.roi_heads.box_head(pooled)[0]
            np.testing.assert_allclose(feature, expected.numpy(), rtol=1e-3, atol=1e-4)
    assert seen.features.std() > 0


def test_a_batch_of_one_size_agrees_with_single_images():
    detector = detector_of(random_model(), score_threshold=0.1)
    images = [picture(160, 208, seed=seed) for seed in range(3)]
    for together, image in zip(detector.detect(images), images, strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-2)
        np.testing.assert_allclose(together.features, alone.features, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(together.objects, alone.objects)


def test_one_pass_of_the_backbone_a_batch():
    model = random_model()
    detector = detector_of(model)
    passes = []
    model.backbone.register_forward_hook(lambda *_: passes.append(1))
    detector.detect([picture(160, 208), picture(160, 208, seed=1)])
    assert len(passes) == 1


@pytest.mark.parametrize("threshold", [0.97, 1.0])
def test_too_few_regions_are_filled_up_with_the_models_next_best(threshold):
    model = random_model()
    labels = ("__background__", "a", "b", "c")
    image = picture(160, 208)
    sparse = detector_of(model, labels, score_threshold=threshold, min_regions=20)
    (seen,) = sparse.detect([image])
    assert len(seen.boxes) == 20
    (own,) = own_forward(model, [image], threshold=0.0)
    assert_same(seen, {name: values[:19] for name, values in own.items()})


def test_too_many_regions_are_cut():
    image = picture(160, 208)
    model = random_model()
    many = detector_of(model, **EVERYTHING).detect([image])[0]
    few = detector_of(model, score_threshold=0.0, min_regions=1, max_regions=5).detect([image])[0]
    assert len(many.boxes) > 5
    assert len(few.boxes) == 5
    np.testing.assert_array_equal(few.boxes, many.boxes[:5])


def test_nameless_classes_are_not_reported():
    detector = detector_of(random_model(), **EVERYTHING)
    assert tuple(detector.objects) == ("ball", "tree")
    (seen,) = detector.detect([picture(160, 208)])
    (own,) = own_forward(random_model(), [picture(160, 208)], threshold=0.0)
    trees = own["scores"][own["labels"] == 3]
    np.testing.assert_allclose(seen.scores[seen.objects == 1], trees.numpy(), atol=1e-6)
    assert set(seen.objects) == {-1, 0, 1}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2), (2, 500)])
def test_strange_formats_give_regions_inside_the_picture(size):
    (seen,) = detector_of(random_model(), min_regions=3).detect([picture(*size)])
    assert len(seen.boxes) >= 1
    assert np.isfinite(seen.features).all()
    assert (seen.boxes >= 0).all()
    assert (seen.boxes <= np.array([size[1], size[0]] * 2) + 1e-3).all()
    np.testing.assert_allclose(seen.boxes[0], [0, 0, size[1], size[0]], rtol=1e-5)


def test_a_strip_seen_first_changes_nothing():
    image = picture(160, 208)
    fresh = detector_of(random_model()).detect([image])[0]
    detector = detector_of(random_model())
    detector.detect([picture(1, 3000)])
    np.testing.assert_array_equal(detector.detect([image])[0].features, fresh.features)


def test_without_features():
    detector = detector_of(random_model(), with_features=False)
    (seen,) = detector.detect([picture(160, 208)])
    assert detector.feature_size == 0
    assert seen.features.shape == (len(seen.boxes), 0)
    assert detector.detect([]) == []


def test_reduced_precision_gives_nearly_the_same_features():
    image = picture(160, 208)
    full = detector_of(random_model()).detect([image])[0]
    reduced = detector_of(random_model(), precision="bf16")
    assert reduced.provenance.settings["precision"] == "bfloat16"
    whole = reduced.detect([image])[0].features[0]
    assert np.linalg.norm(whole - full.features[0]) < 0.1 * np.linalg.norm(full.features[0])


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="2 labels for a model of 4 classes"):
        detector_of(random_model(), LABELS[:2])
    with pytest.raises(UsageError, match="unknown precision 'int3'"):
        detector_of(random_model(), precision="int3")
    with pytest.raises(UsageError, match="unknown device 'abacus'"):
        load_demo_detector(device="abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_device_that_is_not_there_says_so():
    with pytest.raises(MissingDependencyError, match="'cuda' cannot be used"):
        load_demo_detector(device="cuda")
