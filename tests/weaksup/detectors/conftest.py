"""Tiny networks of random numbers in the formats of other packages, and what a store keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from weaksup.analyser import Traits
from weaksup.detectors.base import Detector, FeatureModel
from weaksup.types import Image, Provenance

NAMES = ("ball", "N/A", "tree", "red car")
WORDS = ("ball", "tree", "red", "car", "house", "traffic", "light", "dog")
D = 32


@pytest.fixture(scope="session")
def as_stored() -> Callable[..., Provenance]:
    """From a detector to the provenance that its store would have, once it is read."""

    def stored(detector: Detector, feature_model: FeatureModel | None = None) -> Provenance:
        provenance = Traits.of(detector, feature_model, batch_size=16).provenance
        return replace(provenance, settings=json.loads(json.dumps(provenance.settings)))

    return stored


@pytest.fixture(scope="session")
def assert_same_sight() -> Callable[[Detector, Detector], None]:
    """Two detectors see the same in a picture, call it the same, and say that they are the same."""

    def check(one: Detector, other: Detector) -> None:
        assert tuple(one.objects) == tuple(other.objects)
        assert tuple(one.attributes) == tuple(other.attributes)
        assert one.provenance == other.provenance
        coarse = np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8)
        pixels = np.repeat(np.repeat(coarse, 16, axis=0), 16, axis=1)
        (first,), (second,) = (
            detector.detect([Image("x.png", pixels, pixels.shape[:2])]) for detector in (one, other)
        )
        assert len(first.boxes) > 2
        assert first.features.shape[1] == one.feature_size
        for name in ("boxes", "scores", "objects", "attributes", "features"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)

    return check


@pytest.fixture(scope="session")
def write_detectron2() -> Callable[..., Path]:
    """Writes ``small.yaml`` and ``weights.pth``, which it names, into a folder."""

    def write(
        folder: Path, zoo_name: str, *, classes: int = 3, test_data: str = "nobody_registered_this"
    ) -> Path:
        import torch

        config = _shrunk(zoo_name, classes=classes)
        config.DATASETS.TEST = (test_data,)
        config.MODEL.WEIGHTS = "weights.pth"
        torch.save({"model": _random_model(config).state_dict()}, folder / "weights.pth")
        (folder / "small.yaml").write_text(config.dump())
        return folder

    return write


def _shrunk(zoo_name: str, *, classes: int):
    """A real configuration, made small: few channels, few proposals, small pictures."""
    from detectron2.config import get_cfg
    from detectron2.model_zoo import get_config_file

    config = get_cfg()
    config.merge_from_file(get_config_file(zoo_name))
    config.MODEL.DEVICE = "cpu"
    config.MODEL.MASK_ON = False
    config.MODEL.RESNETS.STEM_OUT_CHANNELS = 8
    config.MODEL.RESNETS.RES2_OUT_CHANNELS = 16
    config.MODEL.RESNETS.WIDTH_PER_GROUP = 8
    config.MODEL.FPN.OUT_CHANNELS = 16
    config.MODEL.ROI_BOX_HEAD.FC_DIM = 32
    config.MODEL.ROI_HEADS.NUM_CLASSES = classes
    config.MODEL.RPN.POST_NMS_TOPK_TEST = 60
    config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST = 128, 200
    return config


def _random_model(config):
    import torch
    from detectron2.layers import FrozenBatchNorm2d
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    model = build_model(config).eval()
    with torch.no_grad():
        # Frozen normalisation of an untrained network lets activations grow from block to block,
        # until no box is left inside the picture.
        for place, module in model.named_modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.weight.fill_(0.01 if "stem" in place else 0.3 if "conv3" in place else 1)
        # Untrained class scores and boxes are all alike: stretched, they differ.
        predictor = model.roi_heads.box_predictor
        predictor.cls_score.weight.normal_(std=40 / predictor.cls_score.in_features**0.5)
        predictor.bbox_pred.weight.normal_(std=1 / predictor.bbox_pred.in_features**0.5)
        for module in model.roi_heads.modules():
            if isinstance(module, torch.nn.Linear):
                module.bias.normal_(std=0.1)
    return model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Callable[[str], Path]:
    """From the ``model_type`` to a folder as ``save_pretrained`` writes it."""
    pytest.importorskip("transformers", reason="transformers is not installed")

    @cache
    def folder(kind: str) -> Path:
        path = tmp_path_factory.mktemp(kind)
        _write(kind, path)
        return path

    return folder


def _write(kind: str, folder: Path) -> None:
    import torch
    import transformers

    config = _config(kind)
    open_kind = kind in ("grounding-dino", "mm-grounding-dino", "owlvit", "owlv2")
    maker = (
        transformers.AutoModelForZeroShotObjectDetection
        if open_kind
        else transformers.AutoModelForObjectDetection
    )
    torch.manual_seed(0)
    model = maker.from_config(config).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "class" in name and name.endswith("bias"):
                values.zero_()
            elif name == "box_head.dense2.bias":
                values.copy_(torch.tensor([0, 0, 1.5, 1.5]))  # boxes larger than patches: overlaps
            elif values.ndim > 1:
                # As they begin, networks give much the same for all queries and pictures.
                strong = "class" in name or "text" in name
                strong |= kind.startswith("rt_detr") and values.ndim == 4  # SiLU halves the small
                gain = 3 if strong else 1.4
                values.normal_(0, gain / values[0].numel() ** 0.5)
    model.save_pretrained(folder, safe_serialization=True)
    _processor(kind).save_pretrained(folder)
    if open_kind:
        _tokenizer(bert=not kind.startswith("owl")).save_pretrained(folder)


def _config(kind: str):
    import transformers as hf

    if kind.startswith("owl"):
        maker = hf.OwlViTConfig if kind == "owlvit" else hf.Owlv2Config
        text = {"vocab_size": 40, "hidden_size": 12, "max_position_embeddings": 16}
        special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 39}
        vision = {"hidden_size": D, "image_size": 64, "patch_size": 16}
        both = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        return maker(
            text_config={**text, **special, **both},
            vision_config={**vision, **both},
            projection_dim=12,
        )
    sizes = {"embedding_size": 8, "hidden_sizes": [8] * 4, "depths": [1] * 4, "layer_type": "basic"}
    levels = ["stage2", "stage3", "stage4"]
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    layers = {"d_model": D, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    common = {**heads, **layers, "num_queries": 12}
    if kind.endswith("grounding-dino"):
        maker = hf.GroundingDinoConfig if kind[0] == "g" else hf.MMGroundingDinoConfig
        blocks = {"depths": [1, 1, 1], "num_heads": [1, 1, 2], "window_size": 4}
        text = {"vocab_size": 1040, "hidden_size": 16, "intermediate_size": 16}
        return maker(
            backbone_config=hf.SwinConfig(
                image_size=64, embed_dim=8, **blocks, out_features=["stage2", "stage3"]
            ),
            text_config=hf.BertConfig(
                **text, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64
            ),
            num_feature_levels=2,
            max_text_len=16,
            encoder_layers=1,
            **common,
        )
    common["id2label"] = dict(enumerate(NAMES))
    common["label2id"] = {name: row for row, name in enumerate(NAMES)}
    if kind in ("rt_detr", "rt_detr_v2", "d_fine"):
        # The encoder is wider than the decoder, as in the largest published model.
        wide = {"encoder_hidden_dim": 40, "decoder_in_channels": [40] * 3, "num_denoising": 0}
        common.update(wide, encoder_in_channels=[8] * 3)
    if kind == "rt_detr":
        backbone = hf.RTDetrResNetConfig(**sizes, out_features=levels)
        return hf.RTDetrConfig(backbone_config=backbone, **common)
    if kind == "rt_detr_v2":
        backbone = hf.RTDetrResNetConfig(**sizes, out_features=levels)
        return hf.RTDetrV2Config(backbone_config=backbone, **common)
    if kind == "d_fine":
        stages = {f"stage_{part}_channels": [8] * 4 for part in ("in", "mid", "out")}
        counts = {"stage_num_blocks": [1] * 4, "stage_numb_of_layers": [1] * 4}
        backbone = hf.HGNetV2Config(
            stem_channels=[3, 8, 8], **stages, **counts, **sizes, out_features=levels
        )
        return hf.DFineConfig(backbone_config=backbone, **common)
    several = kind == "deformable_detr"
    maker = {
        "detr": hf.DetrConfig,
        "conditional_detr": hf.ConditionalDetrConfig,
        "deformable_detr": hf.DeformableDetrConfig,
    }[kind]
    return maker(
        use_timm_backbone=False,
        backbone=None,
        use_pretrained_backbone=False,
        backbone_config=hf.ResNetConfig(**sizes, out_features=levels if several else levels[1:2]),
        encoder_layers=1,
        **({"num_feature_levels": 3} if several else {}),
        **common,
    )


def _processor(kind: str):
    import transformers as hf

    square = {"height": 64, "width": 64}
    edges = {"shortest_edge": 64, "longest_edge": 96}
    if kind == "owlvit":
        return hf.OwlViTImageProcessor(size=square, crop_size=square)
    if kind == "owlv2":
        return hf.Owlv2ImageProcessor(size=square)
    if kind in ("rt_detr", "rt_detr_v2", "d_fine"):
        return hf.RTDetrImageProcessor(size=square)
    return {
        "detr": hf.DetrImageProcessor,
        "conditional_detr": hf.ConditionalDetrImageProcessor,
        "deformable_detr": hf.DeformableDetrImageProcessor,
    }.get(kind, hf.GroundingDinoImageProcessor)(size=edges)


def _tokenizer(*, bert: bool):
    """A few words; for Grounding DINO with the special tokens at the places that it expects."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    if bert:
        begin, end, pad, unknown = "[CLS]", "[SEP]", "[PAD]", "[UNK]"
        rows = {pad: 0, unknown: 100, begin: 101, end: 102, ".": 1012, "?": 1029}
        rows.update({word: 200 + row for row, word in enumerate(WORDS)})
    else:
        begin, end, pad, unknown = "<begin>", "<end>", "<pad>", "<unknown>"
        # The end has the highest number: that is how the network finds it.
        rows = {pad: 0, begin: 1, end: 39, unknown: 3}
        rows.update({word: 4 + row for row, word in enumerate((*WORDS, "a", "photo", "of"))})
    inner = Tokenizer(models.WordLevel(rows, unk_token=unknown))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(begin, rows[begin]), (end, rows[end])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        cls_token=begin,
        sep_token=end,
        pad_token=pad,
        unk_token=unknown,
        model_max_length=64,
    )
