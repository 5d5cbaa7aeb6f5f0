"""The detectron2 adapter against detectron2's own inference."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from weaksup.cli import main
from weaksup.concepts.vocabulary import build_vocabulary
from weaksup.detectors.build import DetectorOptions, build_detector, resolve_auto
from weaksup.detectors.rebuild import rebuild
from weaksup.errors import DataError, MissingDependencyError, UsageError
from weaksup.store import open_store
from weaksup.types import Image

with warnings.catch_warnings():
    # pytest shows the warnings of detectron2's own imports otherwise.
    warnings.simplefilter("ignore")
    pytest.importorskip(
        "detectron2.model_zoo",
        reason="detectron2 is not installed: it is optional and built from source",
        exc_type=ImportError,
    )

from detectron2.config import get_cfg
from detectron2.engine import DefaultPredictor
from detectron2.model_zoo import get_config_file
from detectron2.modeling import build_model

from weaksup.detectors.detectron2 import DEFAULT_MODEL, load_detectron2_detector

FPN = DEFAULT_MODEL
C4 = "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml"
NAMES = ("ball", "background", "tree")
EVERYTHING = {"score_threshold": 0.0, "min_regions": 1, "max_regions": 10_000, "device": "cpu"}


@pytest.fixture(scope="module", params=[FPN, C4], ids=["FPN", "C4"])
def files(request, tmp_path_factory, write_detectron2):
    """A configuration file, with weights beside it, of each kind of box head."""
    return write_detectron2(tmp_path_factory.mktemp("detectron2"), request.param)


def detector_of(files, **settings):
    return load_detectron2_detector(
        str(files / "small.yaml"), labels=settings.pop("labels", ("a", "b", "c")), **settings
    )


def picture(height, width, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, size=(height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    pixels = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)[:height, :width]
    return Image(id=f"{seed}.png", pixels=np.ascontiguousarray(pixels), size=(height, width))


def predictor_of(files, *, threshold):
    """Detectron2's own predictor with room for everything."""
    config = get_cfg()
    config.merge_from_file(str(files / "small.yaml"))
    config.MODEL.WEIGHTS = str(files / "weights.pth")
    config.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    config.TEST.DETECTIONS_PER_IMAGE = 10_000
    return DefaultPredictor(config)


@pytest.mark.parametrize("threshold", [0.05, 0.4])
def test_regions_are_those_of_detectron2s_own_predictor(files, threshold):
    detector = detector_of(files, **{**EVERYTHING, "score_threshold": threshold})
    predictor = predictor_of(files, threshold=threshold)
    for image in (picture(160, 208), picture(120, 90, seed=1), picture(97, 61, seed=2)):
        (seen,) = detector.detect([image])
        own = predictor(image.pixels[:, :, ::-1])["instances"]
        assert len(own) > 3
        np.testing.assert_allclose(seen.boxes[1:], own.pred_boxes.tensor.numpy(), atol=1e-3)
        np.testing.assert_allclose(seen.scores[1:], own.scores.numpy(), atol=1e-5)
        np.testing.assert_array_equal(seen.objects[1:], own.pred_classes.numpy())


def test_a_batch_agrees_with_the_models_own_inference(files):
    detector = detector_of(files, **{**EVERYTHING, "score_threshold": 0.3})
    images = [picture(160, 208), picture(208, 160, seed=1)]
    model = predictor_of(files, threshold=0.3).model
    tensors = [
        {"image": detector._tensor(one), "height": one.size[0], "width": one.size[1]}
        for one in images
    ]
    with torch.inference_mode():
        own = model.inference(tensors)
    for one, other in zip(detector.detect(images), own, strict=True):
        np.testing.assert_allclose(
            one.boxes[1:], other["instances"].pred_boxes.tensor.numpy(), atol=1e-3
        )
        np.testing.assert_array_equal(one.objects[1:], other["instances"].pred_classes.numpy())


def test_class_scores_follow_from_the_features(files):
    """Row by row, through the model's own last layer, at the places of the final boxes."""
    detector = detector_of(files, **EVERYTHING)
    inputs = []
    predictor = detector._model.roi_heads.box_predictor
    hook = predictor.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    image = picture(160, 208)
    (seen,) = detector.detect([image])
    assert seen.features.shape == (len(seen.boxes), predictor.cls_score.in_features)
    # Given the final boxes as proposals, detectron2's own heads compute the same features.
    from detectron2.structures import Boxes, Instances

    with torch.inference_mode():
        batch = detector._model.preprocess_image([{"image": detector._tensor(image)}])
        height, width = batch.image_sizes[0]
        given = Instances((height, width))
        zoom = torch.tensor([width / 208, height / 160] * 2)
        given.proposal_boxes = Boxes(torch.from_numpy(seen.boxes) * zoom)
        detector._model.roi_heads(batch, detector._model.backbone(batch.tensor), [given], None)
    hook.remove()
    np.testing.assert_allclose(seen.features, inputs[-1].numpy(), rtol=1e-3, atol=1e-4)
    assert seen.features.std() > 0


def test_the_whole_image_comes_first_and_one_pass_of_the_backbone(files):
    detector = detector_of(files, score_threshold=0.99, min_regions=12, device="cpu")
    passes = []
    detector._model.backbone.register_forward_hook(lambda *_: passes.append(1))
    (seen, _) = detector.detect([picture(120, 180), picture(120, 180, seed=1)])
    assert len(passes) == 1
    np.testing.assert_allclose(seen.boxes[0], [0, 0, 180, 120], rtol=1e-6)
    assert (seen.scores[0], seen.objects[0]) == (1, -1)
    assert len(seen.boxes) >= 12
    assert np.all(np.diff(seen.scores) <= 0)
    assert {a.dtype for a in (seen.boxes, seen.features, seen.scores)} == {np.dtype(np.float32)}
    assert (seen.objects.dtype, seen.attributes.shape) == (np.int32, (len(seen.boxes), 0))


def test_nameless_classes_are_not_reported(files):
    detector = detector_of(files, labels=NAMES, **EVERYTHING)
    assert tuple(detector.objects) == ("ball", "tree")
    assert set(detector.detect([picture(160, 208)])[0].objects) == {-1, 0, 1}


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 2)])
def test_strange_formats_give_regions_inside_the_picture(files, size):
    (seen,) = detector_of(files, device="cpu").detect([picture(*size)])
    assert np.isfinite(seen.features).all()
    assert (seen.boxes >= 0).all()
    assert (seen.boxes <= np.array([size[1], size[0]] * 2)).all()


def test_without_features_and_in_reduced_precision(files):
    image = picture(160, 208)
    bare = detector_of(files, with_features=False, device="cpu")
    assert (bare.feature_size, bare.detect([image])[0].features.shape[1]) == (0, 0)
    full = detector_of(files, device="cpu").detect([image])[0].features[0]
    reduced = detector_of(files, device="cpu", precision="bf16").detect([image])[0].features[0]
    assert np.linalg.norm(full - reduced) < 0.1 * np.linalg.norm(full)


def test_zoo_weights_are_taken_from_detectron2s_cache(tmp_path, monkeypatch):
    """An untrained model of full size, pickled as the model zoo pickles its own."""
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setattr(
        "torch.hub.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("offline"))
    )
    with pytest.raises(MissingDependencyError, match=r"cannot be fetched") as missing:
        load_detectron2_detector(device="cpu")
    path = Path(missing.value.hint.splitlines()[1].removeprefix("and put it at "))
    assert path.is_relative_to(tmp_path)
    config = get_cfg()
    config.merge_from_file(get_config_file(DEFAULT_MODEL))
    config.MODEL.DEVICE = "cpu"
    arrays = {key: value.numpy() for key, value in build_model(config).state_dict().items()}
    arrays["proposal_generator.anchor_generator.cell_anchors.0"] = np.zeros((3, 4), np.float32)
    arrays["pixel_mean"] = np.zeros((3, 1, 1), np.float32)
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "us"}, protocol=2))
    detector = load_detectron2_detector(device="cpu")
    assert (len(detector.objects), detector.objects[79]) == (80, "toothbrush")
    again = rebuild(detector.provenance, files=[]).detector
    assert (again.provenance, again.objects) == (detector.provenance, detector.objects)
    assert detector.feature_size == 1024
    assert detector.provenance.detector == "detectron2:COCO-Detection/faster_rcnn_R_50_FPN_3x"
    with pytest.raises(UsageError, match="which has its own"):
        load_detectron2_detector(labels=NAMES, device="cpu")


def test_by_name_and_as_auto(files):
    assert resolve_auto() == "detectron2"
    options = DetectorOptions(
        weights=f"{files / 'small.yaml'},{files / 'weights.pth'}", labels=NAMES, device="cpu"
    )
    assert len(build_detector("auto", options).detect([picture(90, 90)])) == 1


def test_a_configuration_cannot_run_code(tmp_path):
    proof = tmp_path / "ran"
    code = f"import pathlib; pathlib.Path({str(proof)!r}).touch()"
    (tmp_path / "bad.yaml").write_text(
        f"MODEL:\n  WEIGHTS: !!python/object/apply:builtins.exec [{code!r}]\n"
    )
    with pytest.raises(DataError, match="cannot be read as a configuration"):
        load_detectron2_detector(str(tmp_path / "bad.yaml"))
    assert not proof.exists()


def test_what_is_wrong_is_named(files, tmp_path):
    yaml = str(files / "small.yaml")
    with pytest.raises(UsageError, match="did you mean 'COCO-Detection/faster_rcnn_R_50_FPN_3x"):
        load_detectron2_detector("COCO-Detection/faster_rcnn_R_50_FPM_3x.yaml")
    with pytest.raises(UsageError, match="what its 3 classes are called"):
        load_detectron2_detector(yaml)
    with pytest.raises(DataError, match="2 labels for small, which has 3 classes"):
        load_detectron2_detector(yaml, labels=("a", "b"))
    with pytest.raises(UsageError, match="does not exist"):
        load_detectron2_detector(f"{yaml},{tmp_path / 'none.pth'}")
    with pytest.raises(DataError, match="does not fit the configuration"):
        load_detectron2_detector(f"{FPN},{files / 'weights.pth'}")
    retinanet = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"
    with pytest.raises(UsageError, match="RetinaNet"):
        load_detectron2_detector(f"{retinanet},{files / 'weights.pth'}")
    (tmp_path / "bare.yaml").write_text("MODEL:\n  WEIGHTS: detectron2://x.pkl\n")
    with pytest.raises(UsageError, match="names no weights file"):
        load_detectron2_detector(str(tmp_path / "bare.yaml"))


def test_a_broken_installation_says_how_to_mend_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pkg_resources", None)
    for name in [name for name in sys.modules if name.startswith("detectron2.model_zoo")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingDependencyError, match="pkg_resources") as broken:
        load_detectron2_detector(device="cpu")
    assert "setuptools<81" in broken.value.hint


def test_names_of_lvis_come_from_detectron2(tmp_path, write_detectron2):
    model = "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
    write_detectron2(tmp_path, model, classes=1203, test_data="lvis_v1_val")
    weights = f"{tmp_path / 'small.yaml'},{tmp_path / 'weights.pth'}"
    detector = load_detectron2_detector(weights, device="cpu")
    assert (len(detector.objects), detector.objects[0]) == (1203, "aerosol_can")
    assert build_vocabulary(detector.objects[:1], ()).concepts[0].name == "aerosol can"
    assert detector.detect([picture(90, 90)])[0].objects.max() < 1203


ATTRIBUTES = ("gray,grey", "wooden", "tall", "multi colored,multi-colored", "wet")
# Keys as grid-feats-vqa and bottom-up-attention.pytorch write them, in a file beside its base.
WITH_ATTRIBUTES = """
_BASE_: small.yaml
MODEL:
  {switch}
  RPN: {{BBOX_LOSS_WEIGHT: 2.0}}
  ROI_BOX_HEAD: {{NAME: {box_head}}}
  ROI_HEADS: {{NAME: Attribute{heads}}}
  ROI_ATTRIBUTE_HEAD: {{OBJ_EMBED_DIM: 8, FC_DIM: 16, NUM_CLASSES: 5}}
INPUT: {{MAX_ATTR_PER_INS: 4}}
"""


@pytest.fixture(scope="module", params=["ATTRIBUTE_ON: true", "BUA: {ATTRIBUTE_ON: true, X: 1}"])
def with_attributes(files, request, tmp_path_factory):
    """The same model with an attribute head: a folder, and the head's tensors."""
    folder = tmp_path_factory.mktemp("attributes")
    small = (files / "small.yaml").read_text()
    (folder / "small.yaml").write_text(small)
    c4 = "Res5ROIHeads" in small
    config = WITH_ATTRIBUTES.format(
        switch=request.param,
        heads="Res5ROIHeads" if c4 else "StandardROIHeads",
        box_head='""' if c4 else "AttributeFastRCNNConvFCHead",
    )
    (folder / "genome.yaml").write_text(config)
    state = torch.load(files / "weights.pth")["model"]
    width = state["roi_heads.box_predictor.cls_score.weight"].shape[1]
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "obj_embed.weight": (4, 8),
        "fc.0.weight": (16, width + 8),
        "fc.0.bias": (16,),
        "attr_score.weight": (5, 16),
        "attr_score.bias": (5,),
    }
    head = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    state |= {f"roi_heads.attribute_predictor.{name}": value for name, value in head.items()}
    torch.save({"model": state}, folder / "weights.pth")
    return folder, head


@pytest.mark.parametrize("with_features", [True, False])
def test_attributes_are_those_of_the_head(files, with_attributes, with_features):
    folder, head = with_attributes
    detector = load_detectron2_detector(
        str(folder / "genome.yaml"),
        labels=("a", "b", "c"),
        attribute_labels=ATTRIBUTES,
        with_features=with_features,
        **EVERYTHING,
    )
    plain = detector_of(files, **EVERYTHING)
    assert (plain.attributes, detector.attributes) == ((), ATTRIBUTES)
    image = picture(160, 208)
    (seen,), (same,) = detector.detect([image]), plain.detect([image])
    np.testing.assert_allclose(seen.boxes, same.boxes, atol=1e-3)
    np.testing.assert_array_equal(seen.objects, same.objects)
    assert seen.attributes[0].tolist() == [-1] * 5
    features = torch.from_numpy(same.features[1:])
    embedded = head["obj_embed.weight"][torch.from_numpy(same.objects[1:]).long()]
    hidden = torch.cat([features, embedded], 1) @ head["fc.0.weight"].T + head["fc.0.bias"]
    scores = hidden.clamp(min=0) @ head["attr_score.weight"].T + head["attr_score.bias"]
    chances = scores.softmax(1).numpy()
    for region, row in zip(chances, seen.attributes[1:], strict=True):
        order = [int(place) for place in np.argsort(-region) if region[place] > 0.1]
        assert [place for place in row if place >= 0] == order
    assert len({tuple(row) for row in seen.attributes[1:].tolist()}) > 2


def test_attribute_names_reach_the_store(with_attributes, tmp_path, capsys):
    folder, _ = with_attributes
    for name, words in (("objects.txt", ("dog", "tree", "ball")), ("attributes.txt", ATTRIBUTES)):
        (folder / name).write_text("\n".join(words))
    (tmp_path / "photos").mkdir()
    Pillow.fromarray(picture(160, 208).pixels).save(tmp_path / "photos" / "one.png")
    command = ["extract", "--images", tmp_path / "photos", "--workspace", tmp_path / "workspace"]
    command += ["--detector", "detectron2", "--device", "cpu"]
    command += ["--weights", f"{folder / 'genome.yaml'},{folder / 'weights.pth'}"]
    command += ["--labels", folder / "objects.txt"]
    command += ["--attribute-labels", folder / "attributes.txt"]
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in command])
    assert end.value.code == 0
    store = open_store(tmp_path / "workspace" / "regions.h5")
    assert list(store.attributes) == ["gray", "wooden", "tall", "multi colored", "wet"]
    assert (store.region_attributes >= 0).any()
    assert "attributes: " in capsys.readouterr().out


def test_what_is_wrong_with_attribute_names_is_named(files, with_attributes):
    yaml = f"{with_attributes[0] / 'genome.yaml'},{with_attributes[0] / 'weights.pth'}"
    with pytest.raises(UsageError, match="what its 5 attributes are called") as missing:
        load_detectron2_detector(yaml, labels=NAMES)
    assert "--attribute-labels FILE" in missing.value.hint
    with pytest.raises(DataError, match="2 attribute names for genome, which has 5 attributes"):
        load_detectron2_detector(yaml, labels=NAMES, attribute_labels=("wet", "dry"))
    with pytest.raises(UsageError, match="small, which has no attribute head"):
        detector_of(files, attribute_labels=("wet", "dry"))
    without = f"{with_attributes[0] / 'genome.yaml'},{files / 'weights.pth'}"
    with pytest.raises(DataError, match=r"missing roi_heads\.attribute_predictor"):
        load_detectron2_detector(without, labels=NAMES, attribute_labels=ATTRIBUTES)


def test_the_models_converted_from_caffe_are_told_from_broken_files(tmp_path):
    (tmp_path / "caffe.yaml").write_text(
        "MODEL:\n  META_ARCHITECTURE: GeneralizedBUARCNN\n"
        "  BUA: {RPN: {CONV_OUT_CHANNELS: 512}, ATTRIBUTE: {NUM_CLASSES: 401}}\n"
    )
    (tmp_path / "caffe.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"GeneralizedBUARCNN .* not supported"):
        load_detectron2_detector(f"{tmp_path / 'caffe.yaml'},{tmp_path / 'caffe.pth'}")
