"""The configuration of a training run: every setting with its range, default and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from trainer.settings import Layer, Section, combine, parse_overrides, read_toml

Direction = Literal["t2i", "i2t"]
Aggregation = Literal["avg", "lse"]
Negatives = Literal["hardest", "all"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
ModelName = Literal["a3vse", "vsepp", "vse-infty", "scan", "cca"]
MODEL_NAMES: tuple[ModelName, ...] = get_args(ModelName)
DEFAULT_MODEL: ModelName = "a3vse"


class TextConfig(Section):
    """The text encoder and what it reads."""

    word_size: int = Field(default=300, ge=1, description="width of a word embedding")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="dropout on word embeddings")
    word_drop: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="share of caption words that become unknown",
    )
    word_removal: float = Field(
        default=0.0, ge=0, lt=1, description="share of caption words that are left out"
    )
    min_count: int = Field(
        default=2, ge=1, description="a caption word that is rarer in the kept captions is unknown"
    )


class RegionsConfig(Section):
    """The region encoder and what it reads."""

    hidden_size: int = Field(
        default=0, ge=0, description="width of the region MLP; 0 leaves it out"
    )
    attention_layers: int = Field(
        default=0, ge=0, le=12, description="self-attention layers over the regions"
    )
    heads: int = Field(default=4, ge=1, le=64, description="heads of the attentive pooling")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="dropout on region features")
    region_drop: float = Field(
        default=0.2, ge=0, lt=1, description="share of regions left out in training (vse-infty)"
    )


class LossConfig(Section):
    """The objective: a weight of 0 switches a term off, and all the work that only it needs."""

    temperature: float = Field(
        default=0.07, gt=0, le=1, description="divides the cosines of the InfoNCE terms (a3vse)"
    )
    margin: float = Field(
        default=0.2, ge=0, le=2, description="of the hinge loss, in units of cosine (baselines)"
    )
    negatives: Negatives = Field(
        default="hardest",
        description="of the hinge loss: the hardest of the batch, or all (baselines)",
    )
    warmup_epochs: int = Field(
        default=1, ge=0, description="epochs on all negatives before the hardest (baselines)"
    )
    w_gold: float = Field(
        default=0.5, ge=0, description="weight of images with their kept captions"
    )
    w_weak: float = Field(
        default=0.5, ge=0, description="weight of images with their regional semantics"
    )
    w_pseudo: float = Field(
        default=0.0, ge=0, description="weight of a closed-form teacher's pseudo-captions"
    )
    teacher_temperature: float = Field(
        default=0.05, gt=0, le=1, description="divides the teacher's cosines"
    )
    w_adv: float = Field(default=0.0, ge=0, description="weight of both adversarial terms")
    overlap_power: float = Field(
        default=2.0,
        gt=0,
        description="images that share concepts are positives to their overlap to this power",
    )
    unannotated_per_gold: float = Field(
        default=0.4,
        ge=0,
        description="un-annotated images a step, for each gold pair: one at least, none at 0",
    )


class SemanticsConfig(Section):
    """Which concept words of an image are read."""

    threshold: float = Field(
        default=0.25, ge=0, le=1, description="regions of a lower score say nothing"
    )
    word_threshold: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="attributes and classes of the feature network of no higher score say nothing",
    )
    attributes: bool = Field(
        default=False, description="read attribute words before the object's name"
    )
    concept_drop: float = Field(
        default=0.2, ge=0, lt=1, description="share of concept phrases left out in training"
    )


class ScanConfig(Section):
    """The cross attention of scan."""

    direction: Direction = Field(
        default="t2i", description="look for words among regions (t2i), or the reverse (i2t)"
    )
    aggregation: Aggregation = Field(
        default="avg", description="of what was found: the mean (avg), or a smooth maximum (lse)"
    )
    lambda_softmax: float = Field(
        default=9.0, gt=0, description="inverse temperature of the attention"
    )
    lambda_lse: float = Field(
        default=6.0, gt=0, description="the larger, the nearer is lse to the maximum"
    )


class CCAConfig(Section):
    """The closed-form baseline."""

    image_components: int = Field(
        default=900, ge=1, description="principal components of the pooled region features"
    )
    text_components: int = Field(default=2000, ge=1, description="principal components of TF-IDF")
    directions: int = Field(default=128, ge=1, description="canonical directions kept")
    ridge: float = Field(
        default=2.0, gt=0, description="added to both covariances, as a share of mean variance"
    )
    power: float = Field(
        default=1.0, ge=0, description="directions are scaled by correlation to this power"
    )
    context: float = Field(
        default=0.35, ge=0, description="factor of mean and maximum of regions beside the whole"
    )


class FusionConfig(Section):
    """What the towers of a3vse count in its similarity; a share of 0 leaves a tower out."""

    network: float = Field(default=0.2, ge=0, description="share of the attentive network")
    linear: float = Field(default=0.47, ge=0, description="share of the closed-form linear tower")
    concepts: float = Field(default=0.33, ge=0, description="share of the concept tower")
    concept_size: int = Field(default=256, ge=1, description="width of the concept tower")
    objects: float = Field(
        default=1.0,
        ge=0,
        description="what the bag of objects counts in the linear tower beside the whole image's "
        "features; 0 leaves it out",
    )


class HubnessConfig(Section):
    """The correction of similarities for what is near to everything."""

    weight: float = Field(default=0.6, ge=0, le=2, description="of the correction; 0 leaves it out")
    neighbours: int = Field(
        default=50, ge=1, description="nearest of the other modality that are averaged"
    )
    bank: int = Field(
        default=4096,
        ge=1,
        description="training images, and kept captions, that are remembered, at most",
    )


class TrainConfig(Section):
    """Everything that decides a run, beside its data."""

    model: ModelName = Field(default=DEFAULT_MODEL, description="what is trained")
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="of weights, batches and dropout")
    epochs: int = Field(default=8, ge=1, description="passes over the gold pairs")
    batch_size: int = Field(default=128, ge=2, description="gold pairs a step")
    lr: float = Field(default=1e-3, gt=0, le=1, description="highest learning rate")
    weight_decay: float = Field(default=1e-4, ge=0, description="of AdamW")
    warmup: float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps in which lr rises"
    )
    grad_clip: float = Field(default=2.0, ge=0, description="largest gradient norm; 0 for no limit")
    patience: int = Field(
        default=0,
        ge=0,
        description="epochs without a better val rsum that end the run; 0 for none",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="auto is bf16 or fp16 where the device has it in hardware, else fp32",
    )
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1, ...")
    max_regions: int = Field(
        default=36, ge=1, description="most confident regions of an image, at most"
    )
    workers: int = Field(
        default=0, ge=0, description="processes that read batches ahead; 0 reads in training's own"
    )
    embed_size: int = Field(default=256, ge=1, description="width of the common space")
    unannotated: bool = Field(
        default=True,
        description="read un-annotated images: for weak pairs, banks and statistics (a3vse)",
    )
    text: TextConfig = TextConfig()
    regions: RegionsConfig = RegionsConfig()
    loss: LossConfig = LossConfig()
    semantics: SemanticsConfig = SemanticsConfig()
    fusion: FusionConfig = FusionConfig()
    cca: CCAConfig = CCAConfig()
    hubness: HubnessConfig = HubnessConfig()
    scan: ScanConfig = ScanConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> TrainConfig:
        if self.model == "scan" and self.hubness.weight:
            raise ValueError("hubness.weight is for models with embeddings, and scan has none")
        if self.model != "a3vse":
            return self
        if self.embed_size % self.regions.heads:
            raise ValueError(
                f"regions.heads = {self.regions.heads} does not divide "
                f"embed_size = {self.embed_size}"
            )
        loss = self.loss
        if not (loss.w_gold or loss.w_weak or loss.w_pseudo or loss.w_adv):
            raise ValueError("every weight of a loss is 0: there is nothing to train")
        if not (self.unannotated or loss.w_gold or loss.w_pseudo):
            raise ValueError(
                "unannotated = false leaves nothing to train: loss.w_gold and loss.w_pseudo are 0"
            )
        if loss.w_adv and not (self.unannotated and loss.unannotated_per_gold):
            raise ValueError(
                "loss.w_adv tells annotated from un-annotated images, and none of these is read: "
                "unannotated = false, or loss.unannotated_per_gold = 0"
            )
        if not (loss.unannotated_per_gold or loss.w_gold or loss.w_pseudo):
            raise ValueError(
                "loss.unannotated_per_gold = 0 leaves nothing to train: loss.w_gold and "
                "loss.w_pseudo are 0"
            )
        if not (self.fusion.network or self.fusion.linear or self.fusion.concepts):
            raise ValueError("every share of fusion is 0: there is nothing to compare")
        return self

    @property
    def has_epochs(self) -> bool:
        """Whether the model is trained step by step, and the epoch best on val is kept."""
        return self.model != "cca"

    @property
    def decisive(self) -> TrainConfig:
        """These settings with the defaults of those that say where a run is made and how fast.

        What they change of it is rounding: runs that differ in nothing else are one run.
        """
        fields = type(self).model_fields
        return self.model_copy(
            update={name: fields[name].default for name in ("device", "workers")}
        )


# The baselines have words hidden and left out, as their authors' are, in place of dropout.
BASELINE: dict[str, Any] = {
    "epochs": 20,
    "embed_size": 512,
    "text": {"dropout": 0.0, "word_drop": 0.12, "word_removal": 0.08},
    "hubness": {"weight": 0.0},
}

# What a model needs other than the defaults above, nested as in TOML. The networks' rates, batches
# and negatives are the best of an equal number of settings each (docs/experiments.md).
MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "a3vse": {},
    # As in its authors' code without --max_violation; their paper calls that VSE0.
    "vsepp": {**BASELINE, "batch_size": 64, "loss": {"negatives": "all"}},
    "vse-infty": {**BASELINE, "lr": 2e-3},
    # Half the width: every pair of a word and a region costs a product of it.
    "scan": {**BASELINE, "embed_size": 256},
    "cca": {"hubness": {"weight": 0.0}},
}


def load_config(
    *,
    model: str | None,
    file: Path | None,
    overrides: Mapping[str, str],
    source: str = "--set",
) -> TrainConfig:
    """Defaults, then the model's own, then the file's, then ``--set``, the last one winning.

    Args:
        model: as given with ``--model``, which wins over ``model`` in the file; None to take the
            file's, or ``a3vse``.
        file: TOML, with dotted settings in ``[text]``, ``[regions]`` and ``[loss]``.
        overrides: name -> value as text, read as TOML and otherwise as a string. A name is a
            dotted key, or its last part where only one section has it (``w_weak``).
        source: where the overrides come from, as a message names it.

    Raises:
        UsageError: if the file cannot be read; or with everything that is wrong, at once.
    """
    content = read_toml(file) if file is not None else {}
    assigned = parse_overrides(TrainConfig, overrides)
    given: dict[str, Any] = {} if model is None else {"model": model}
    name = {**content, **given, **assigned}.get("model", DEFAULT_MODEL)
    # An unknown name has no defaults, and is reported with everything else.
    defaults = MODEL_DEFAULTS.get(str(name), {})
    return combine(
        TrainConfig,
        [
            Layer(f"default of {name}", defaults),
            Layer(str(file), content),
            Layer("--model", given),
            Layer(source, assigned),
        ],
    )


def changed_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that differ from the model's defaults, by their dotted names.

    Seed and epochs are left out: they are told in any case.
    """
    default = load_config(model=config.model, file=None, overrides={})
    found, expected = (flat_settings(each.model_dump(mode="json")) for each in (config, default))
    return {
        name: value
        for name, value in found.items()
        if value != expected[name] and name not in ("seed", "epochs")
    }


def flat_settings(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings that are nested as in JSON by their dotted names."""
    result: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            result.update(flat_settings(value, f"{prefix}{name}."))
        else:
            result[f"{prefix}{name}"] = value
    return result
