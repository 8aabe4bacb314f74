"""What a training is: a frozen value that holds everything that decides a result.

The keys, their defaults and their bounds are the fields below. Nets, optimisers and schedules are `Component`s: a
registered name and that component's own options, which `checking.checked` holds against its signature.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Channels = tuple[float, float, float]
Epoch = Annotated[int, Field(ge=0)]  # counted from 0
LaterEpoch = Annotated[int, Field(ge=1)]  # one before which every image has had a loss
Share = Annotated[float, Field(gt=0, le=1)]  # from that epoch on
Precision = Literal["auto", "bf16", "fp16", "fp32"]
LEAST_SIDE, MOST_SIDE = 8, 512  # pixels
Side = Annotated[int, Field(ge=LEAST_SIDE, le=MOST_SIDE)]

OWN = "own:"  # begins the stored name of a net or data set that was handed in from Python rather than named


def refuse_booleans(value: Any, annotation: Any) -> Any:
    """The value as it is. Raises ValueError for true and false where numbers are asked for.

    Pydantic takes them as 1 and 0, so that a slip such as `data.batch_size: yes` would go unseen.
    """
    if _holds_boolean(value):
        kinds = plain_types(annotation)
        if (int in kinds or float in kinds) and bool not in kinds:
            raise ValueError("a number is needed, not true or false")
    return value


def plain_types(annotation: Any) -> list[Any]:
    """The plain types that an annotation is made of."""
    inner = typing.get_args(annotation)
    return [kind for one in inner for kind in plain_types(one)] if inner else [annotation]


def _holds_boolean(value: Any, depth: int = 2) -> bool:
    """Down to pairs in a list, no deeper: a list from YAML may hold itself."""
    if isinstance(value, list | tuple) and depth:
        return any(_holds_boolean(one, depth - 1) for one in value)
    return isinstance(value, bool)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        return refuse_booleans(value, cls.model_fields[str(info.field_name)].annotation)


class Data(_Part):
    """Which images, in what batches, and what part of the training set is held out."""

    name: str = "cifar10"  # or the path of one's own images
    image_size: Side = 32  # pixels a side
    fit: Literal["crop", "pad", "squash"] = "crop"  # how image files that are not square are made so
    damaged: Literal["refuse", "skip"] = "refuse"  # what is done with image files that cannot be decoded
    batch_size: int = Field(512, ge=1)  # images a step
    drop_last: bool = False  # leave out the last batch of an epoch where it is smaller
    val_fraction: float = Field(0.0, ge=0, lt=1)  # stratified, by split_seed
    fold: tuple[int, int] | None = None  # [k, K]: the k-th of K stratified folds, by split_seed, is held out
    split_seed: int = Field(0, ge=0, lt=2**63)  # draws what is held out, folds, and the part of train_limit
    train_limit: int | None = Field(None, ge=1)  # a stratified subset of so many training images, by split_seed
    hardest: tuple[tuple[LaterEpoch, Share], ...] = ()  # epoch, share: of the largest last loss
    mean: Literal["auto"] | Channels = "auto"  # a channel, of pixels in 0..1; auto: of the training images used
    std: Literal["auto"] | Channels = "auto"  # deviation, as the mean

    @field_validator("fold")
    @classmethod
    def _is_one_of_the_folds(cls, fold: tuple[int, int] | None) -> tuple[int, int] | None:
        if fold is not None and not (fold[1] >= 2 and 1 <= fold[0] <= fold[1]):
            raise ValueError("must be a fold, counted from 1, and how many there are, two or more, such as [1, 5]")
        return fold

    @property
    def statistics(self) -> tuple[Channels, Channels]:
        """Mean and standard deviation of a resolved recipe."""
        assert self.mean != "auto" and self.std != "auto", "the recipe is not resolved"
        return self.mean, self.std

    @property
    def label(self) -> str:
        """The name as it is shown: of a folder its own name, of a file with the folder that it is in."""
        path = Path(self.name)
        if self.name.startswith(OWN) or not path.is_absolute():
            return self.name
        return "/".join(path.parts[1:][-2 if path.suffix else -1 :]) or self.name


class Augment(_Part):
    """Shift-scale-rotate, then random crop, flip, resize, tone and cutout, each as in `onecycle.data.augment`.

    Shift, scale, angle, brightness and contrast are drawn for each image and epoch, evenly from 0 plus or minus what
    stands here.
    """

    crop_padding: int = Field(4, ge=0, le=64)  # pixels on each side, from which a crop of the old size is taken
    padding: Literal["zeros", "reflect"] = "zeros"  # black, or mirrored without repeating the edge
    flip: Literal["random", "alternating", "none"] = "random"  # alternating: every other epoch, a coin in the first
    cutout: int = Field(8, ge=0)  # side in pixels; 0: none
    cutout_probability: float = Field(1.0, ge=0, le=1)  # that an image has the hole
    shift: float = Field(0.0, ge=0, le=1)  # as a fraction of the side, down and to the right each; 0: none
    scale: float = Field(0.0, ge=0, lt=1)  # of 0.1: by a factor of 0.9 to 1.1; 0: none
    rotate: float = Field(0.0, ge=0, le=180)  # degrees; 0: none
    affine_probability: float = Field(1.0, ge=0, le=1)  # that an image is shifted, scaled and rotated at all
    resize: tuple[tuple[Epoch, Side], ...] = ()  # pixels a side from that epoch on; cutout shrinks in proportion
    resized_crop: float = Field(0.0, ge=0, le=64)  # a resized image shows a crop of so many times its side; 0: all
    brightness: float = Field(0.0, ge=0, le=1)  # of pixels in 0..1: up to so much more or less; 0: none
    contrast: float = Field(0.0, ge=0, le=1)  # of 0.1: distances from the mean times 0.9 to 1.1; 0: none


class Component(BaseModel):
    """A registered name with its own options beside it."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str

    @property
    def options(self) -> dict[str, Any]:
        """The options by name, without the name itself."""
        return dict(self.model_extra or {})


class Loss(_Part):
    """Cross-entropy."""

    label_smoothing: float = Field(0.0, ge=0, lt=1)  # the share of the target that all classes have alike
    class_weights: Literal["none", "balanced"] = "none"  # balanced: images / (classes x images of the class)


class Ema(_Part):
    """Exponential moving average of weights and buffers, which then is what is evaluated and stored."""

    decay: float = Field(0.999, gt=0, lt=1)  # a step; (1 + n) / (10 + n) after n steps, while that is smaller


class Checkpoint(_Part):
    """How often the training state is saved, beside each epoch's end."""

    every_seconds: float = Field(300, gt=0)  # of training


class Distributed(_Part):
    """How several processes train one net."""

    sync_batchnorm: bool = False  # batch norms over the whole batch, not each process's part; on CUDA


class Resources(_Part):
    """What the training may use of a machine that it shares with others."""

    cpus: int | None = Field(None, ge=1, le=1024)  # threads; null: what torch has
    gpus: float = Field(0.0, ge=0, le=1)  # share of a GPU that each of many trainings gets


class Recipe(_Part):
    """One complete training. Build it with `onecycle.recipe`, which also checks the components' options."""

    name: str  # names the run's folder
    seed: int = Field(0, ge=0, lt=2**63)  # of weights, order, augmentation and dropout
    precision: Precision = "auto"  # auto: bf16 where the hardware multiplies it
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"  # the mode of torch.compile
    data: Data = Data()
    augment: Augment = Augment()
    model: Component
    init: str | None = None  # the folder of an earlier run, whose final weights the training begins with
    optimizer: Component
    schedule: Component
    loss: Loss = Loss()
    ema: Ema | None = None
    tta: Literal["none", "flip", "flip_shift"] = "none"  # views that the final test averages over: 1, 2 or 6
    tta_share: float = Field(1.0, gt=0, le=1)  # of the images, those that the net is least sure of
    evaluate_every: int = Field(1, ge=0)  # epochs between evaluations; the last epoch is always evaluated
    checkpoint: Checkpoint = Checkpoint()
    distributed: Distributed = Distributed()
    resources: Resources = Resources()

    @field_validator("name")
    @classmethod
    def _fits_a_folder(cls, name: str) -> str:
        """The run's folder is named after it, with the time and the seed, in the 255 bytes that file systems allow."""
        unfit = name in ("", ".", "..") or not name.isprintable() or "/" in name or "\\" in name
        if unfit or len(name) > 100 or len(name.encode()) > 200:
            allowed = "1 to 100 printable characters (200 bytes) without / and \\, and not . or .."
            raise ValueError(f"must be fit for a folder's name: {allowed}")
        return name

    @field_validator("init")
    @classmethod
    def _can_be_a_folder(cls, init: str | None) -> str | None:
        if init is not None and not (init.strip() and init.isprintable()):
            raise ValueError("must be the folder of an earlier run, such as runs/demo, or null")
        return init

    @property
    def epochs(self) -> int:
        """The epochs of the schedule."""
        return int(self.schedule.options["epochs"])

    def to_yaml(self) -> str:
        """The whole recipe as YAML; reading it back gives an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    def evolve(self, **parts: Any) -> Recipe:
        """A variant: a mapping changes single keys of that part, anything else replaces it. Not yet checked.

        `base.evolve(name="longer", schedule={"epochs": 40})`
        """
        values = self.model_dump()
        for key, value in parts.items():
            old = values.get(key)
            values[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
        return Recipe.model_validate(values)


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys in which two recipes differ, dotted, with both values; None where a key is missing."""
    left, right = flatten(one.model_dump(mode="json")), flatten(other.model_dump(mode="json"))
    keys = list(dict.fromkeys([*left, *right]))
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def annotation_at(place: Iterable[Any]) -> Any:
    """What the schema says of a key, given as its parts; None where it knows no such key."""
    annotation: Any = Recipe
    for part in place:
        model = _model(annotation)
        field = model.model_fields.get(part) if model else None
        annotation = field.annotation if field else None
    return annotation


def fields_at(place: Iterable[Any]) -> list[str]:
    """The keys of a part; none where it is no part."""
    model = _model(annotation_at(place))
    return list(model.model_fields) if model else []


def _model(annotation: Any) -> type[BaseModel] | None:
    candidates = [annotation, *typing.get_args(annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "text", types.NoneType: "null"}
_COUNTS = {2: "two", 3: "three"}


def form(annotation: Any) -> str:
    """What a value has to be, in words such as: auto or three numbers."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return form(inner[0])
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(form(one) for one in inner)
    if origin is tuple and inner[1:] == (...,):
        return f"a list with {form(inner[0])} in each place"
    if origin is tuple:
        return f"{_COUNTS.get(len(inner), len(inner))} numbers"
    return _PLAIN.get(annotation, "a mapping of keys")
