"""The attribute head of detectors trained on Visual Genome: what a region of a class is like.

Its form, its names and its place in a configuration are those of grid-feats-vqa (Jiang et al., "In
Defense of Grid Features for Visual Question Answering", CVPR 2020) and of
bottom-up-attention.pytorch, so that their weights fit.

Letters: N regions, D feature width, C classes without the background, A attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weaksup.types import Int32

# As in the demonstration of bottom-up attention (Anderson et al., CVPR 2018).
THRESHOLD = 0.1
SLOTS = 5


class AttributeHead(nn.Module):
    """Attributes from a region's feature and the name of its class.

    Args:
        feature_size: D.
        classes: C.
        attributes: A.
        embed_size: width of a class's embedding.
        hidden_size: width of the hidden layer.
    """

    def __init__(
        self,
        *,
        feature_size: int,
        classes: int,
        attributes: int,
        embed_size: int,
        hidden_size: int,
    ) -> None:
        super().__init__()
        # The background has a row, too.
        self.obj_embed = nn.Embedding(classes + 1, embed_size)
        self.fc = nn.Sequential(nn.Linear(feature_size + embed_size, hidden_size), nn.ReLU())
        self.attr_score = nn.Linear(hidden_size, attributes)

    def forward(self, features: Tensor, classes: Tensor) -> Tensor:
        """Probabilities (N, A) float32 of features (N, D) and classes (N,) int64."""
        both = torch.cat([features, self.obj_embed(classes)], dim=1)
        scores: Tensor = self.attr_score(self.fc(both))
        return scores.float().softmax(1)


def surest(probabilities: Tensor) -> Int32:
    """The attributes of probabilities (N, A) over ``THRESHOLD``, surest first, -1 as padding.

    Returns:
        (N, SLOTS) int32.
    """
    values, rows = probabilities.topk(min(SLOTS, probabilities.shape[1]), dim=1)
    rows = rows.masked_fill(values <= THRESHOLD, -1)
    result = np.full((len(rows), SLOTS), -1, dtype=np.int32)
    result[:, : rows.shape[1]] = rows.cpu().numpy()
    return result


def add_keys(config: Any) -> None:
    """Let a ``CfgNode`` of detectron2 read the keys that both projects add to it."""
    from detectron2.config import CfgNode

    config.INPUT.MAX_ATTR_PER_INS = 16
    model = config.MODEL
    model.ATTRIBUTE_ON = False
    model.ROI_ATTRIBUTE_HEAD = CfgNode(
        {"OBJ_EMBED_DIM": 256, "FC_DIM": 512, "LOSS_WEIGHT": 0.2, "NUM_CLASSES": 400}
    )
    model.RPN.BBOX_LOSS_WEIGHT = 1.0
    model.ROI_BOX_HEAD.BBOX_LOSS_WEIGHT = 1.0
    # The others are of extraction by their script.
    model.BUA = CfgNode({"ATTRIBUTE_ON": False}, new_allowed=True)


def remove_keys(config: Any) -> None:
    """Remove what ``add_keys`` added and no region depends on.

    What describes an attribute head stays where there is one.
    """
    model = config.MODEL
    present = model.ATTRIBUTE_ON or model.BUA.ATTRIBUTE_ON
    for node, key in (
        (config.INPUT, "MAX_ATTR_PER_INS"),
        (model.RPN, "BBOX_LOSS_WEIGHT"),
        (model.ROI_BOX_HEAD, "BBOX_LOSS_WEIGHT"),
        (model.ROI_ATTRIBUTE_HEAD, "LOSS_WEIGHT"),
        (model, "BUA"),
        (model, "ATTRIBUTE_ON"),
    ):
        del node[key]
    if not present:
        del model["ROI_ATTRIBUTE_HEAD"]


def build(config: Any, *, feature_size: int) -> AttributeHead:
    """The head, untrained, that a configuration after ``remove_keys`` describes."""
    given = config.MODEL.ROI_ATTRIBUTE_HEAD
    return AttributeHead(
        feature_size=feature_size,
        classes=config.MODEL.ROI_HEADS.NUM_CLASSES,
        attributes=given.NUM_CLASSES,
        embed_size=given.OBJ_EMBED_DIM,
        hidden_size=given.FC_DIM,
    )
