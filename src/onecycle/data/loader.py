"""Batches of augmented, normalised images on the device that trains, from a plan of the epoch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..epochs import in_force
from ..errors import UserError, suggestion
from . import augment
from .images import ImageSet
from .pixels import DevicePixels, as_tensor
from .plan import EpochPlan, Flip, plan_epoch


@dataclass(frozen=True)
class Augmentation:
    """Shift-scale-rotate, then random crop, flip, resize, tone, and cutout; the recipe's `augment` part.

    With `affine_probability` an image is shifted by up to `shift` of its side, scaled by 1 plus or minus up to `scale`
    and turned by up to `rotate` degrees, all at once. `resize` holds pairs of an epoch, counted from 0, and the side in
    pixels from there on; with `resized_crop` such an image shows a crop of that many times its side, no larger than the
    whole. Up to `brightness` is added to pixels of 0..1, or taken from them, and their distances from the mean are
    multiplied by 1 plus or minus up to `contrast`. The hole of `cutout` pixels shrinks, or grows, with the image. What
    is 0 is left out.
    """

    crop_padding: int = 4
    padding: augment.Padding = "zeros"
    flip: Flip = "random"
    cutout: int = 8
    cutout_probability: float = 1.0
    shift: float = 0.0
    scale: float = 0.0
    rotate: float = 0.0
    affine_probability: float = 1.0
    resize: tuple[tuple[int, int], ...] = ()
    resized_crop: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0

    def __post_init__(self) -> None:
        problems = [
            f"{key} {getattr(self, key)!r} is not allowed; {suggestion(getattr(self, key), allowed)}"
            for key, allowed in (("padding", ("zeros", "reflect")), ("flip", ("random", "alternating", "none")))
            if getattr(self, key) not in allowed
        ]
        problems += [
            f"{key} {getattr(self, key)} is negative; 0 or more"
            for key in ("crop_padding", "cutout")
            if getattr(self, key) < 0
        ]
        problems += [
            f"{key} {getattr(self, key)} is not allowed; 0 or more, {at_most}"
            for key, holds, at_most in (
                ("shift", 0 <= self.shift <= 1, "at most 1, the whole side"),
                ("scale", 0 <= self.scale < 1, "less than 1"),
                ("rotate", 0 <= self.rotate <= 180, "at most 180 degrees"),
                ("affine_probability", 0 <= self.affine_probability <= 1, "at most 1"),
                ("cutout_probability", 0 <= self.cutout_probability <= 1, "at most 1"),
                ("resized_crop", 0 <= self.resized_crop <= 64, "at most 64"),
                ("brightness", 0 <= self.brightness <= 1, "at most 1"),
                ("contrast", 0 <= self.contrast <= 1, "at most 1"),
            )
            if not holds
        ]
        starts = [epoch for epoch, _ in self.resize]
        if any(later <= earlier for earlier, later in itertools.pairwise([-1, *starts])):
            problems.append(f"resize: the epochs {starts} do not rise from 0 on; each must be later than the last")
        if any(side < 1 for _, side in self.resize):
            problems.append(f"resize {list(self.resize)} has a side below 1 pixel")
        if self.resized_crop and not self.resize:
            problems.append(f"resized_crop {self.resized_crop} is for what resize resizes, which is empty; 0")
        if problems:
            raise UserError(*problems)

    def side(self, epoch: int, image_size: int) -> int:
        """Pixels a side in that epoch, of images of `image_size`."""
        return in_force(self.resize, epoch, image_size)

    def crop(self, epoch: int, image_size: int) -> int:
        """Pixels a side that the crops of that epoch have before they are resized."""
        side = self.side(epoch, image_size)
        if side == image_size or self.resized_crop == 0:
            return image_size
        return min(max(round(self.resized_crop * side), 1), image_size)

    @property
    def moves(self) -> bool:
        """Whether there is anything to shift, scale or rotate."""
        return self.affine_probability > 0 and any((self.shift, self.scale, self.rotate))

    @property
    def tones(self) -> bool:
        """Whether brightness or contrast is changed."""
        return any((self.brightness, self.contrast))

    def check_size(self, size: int) -> None:
        """Raise UserError where images of `size` pixels a side cannot be augmented so."""
        if self.cutout > size:
            raise UserError(f"cutout {self.cutout} is larger than the images; at most {size}")
        if self.padding == "reflect" and self.crop_padding >= size:
            raise UserError(f"crop_padding {self.crop_padding} cannot be reflected; less than the {size} pixels")
        if self.moves and size < 2:
            raise UserError("images of one pixel cannot be shifted, scaled or rotated; at least 2 pixels a side")


class Batch(NamedTuple):
    """images_nchw: float [b, 3, h, w], channels-last; labels: int64 [b]; samples: their places in the set [b].

    Of a loader that has a `part`, the images are those of the part alone.
    """

    images_nchw: Tensor
    labels: Tensor
    samples: Tensor


class Loader:
    """Batches of one image set; the pixels are kept on `device` as uint8, or fetched from the set a batch at a time.

    Without `mean` and `std` (a channel, of pixels in 0..1) those of the set are used. With `augmentation`, `epoch(e)`
    yields the shuffled, augmented batches of epoch e; `in_order()` yields all images plain, for evaluation. `hardest`
    holds pairs of an epoch, counted from 0, and the share of the images that each epoch from there on goes over; it
    decides `steps` and `images_in`, while `epoch` is told which images these are. `part`, where several processes
    train, says which of the n images of each batch of `epoch` are this one's to augment, as a slice; labels and samples
    stay those of the whole batch. Where the slice is empty, one or two of the batch's first images stand in.
    Raises UserError where `batch_size` is below 1 and, with augmentation, where a batch is larger than the set or the
    augmentation does not fit the size of the images.
    """

    def __init__(
        self,
        images: ImageSet,
        *,
        batch_size: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        drop_last: bool = False,
        hardest: Sequence[tuple[int, float]] = (),
        part: Callable[[int], slice] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"data.batch_size {batch_size} is below 1")
        if augmentation is not None:
            augmentation.check_size(images.image_size)
            if batch_size > len(images):
                raise UserError(f"data.batch_size {batch_size} is larger than the training set; at most {len(images)}")
        if mean is None or std is None:
            own_mean, own_std = images.channel_statistics()
            mean, std = own_mean if mean is None else mean, own_std if std is None else std
        self.mean, self.std = tuple(mean), tuple(std)
        self.batch_size = batch_size
        self._augmentation = augmentation
        self._seed = seed
        self._drop_last, self._hardest, self._part = drop_last, hardest, part
        self._device, self._dtype = torch.device(device), dtype
        self._pixels = DevicePixels(images.images_nhwc, self._device)
        self._labels = as_tensor(images.labels).to(self._device)

    def __len__(self) -> int:
        """The batches of an epoch over all images."""
        return self._batches(self.samples)

    def steps(self, epoch: int) -> int:
        """The batches of that epoch."""
        return self._batches(self.images_in(epoch))

    def images_in(self, epoch: int) -> int:
        """How many of the images that epoch goes over; a batch at least."""
        return max(round(in_force(self._hardest, epoch, 1.0) * self.samples), self.batch_size)

    def seen(self, epoch: int) -> int:
        """How many images the batches of that epoch hold."""
        return self.steps(epoch) * self.batch_size if self._drop_last else self.images_in(epoch)

    def side(self, epoch: int) -> int:
        """Pixels a side of the images of that epoch."""
        full = self._pixels.image_size
        return full if self._augmentation is None else self._augmentation.side(epoch, full)

    def blanks(self, epochs: Iterable[int]) -> list[Tensor]:
        """Zeros for each shape that the images_nchw of these epochs' batches have, the largest first."""
        shapes = set()
        for epoch in epochs:
            rest = self.seen(epoch) % self.batch_size
            for size in {self.batch_size, rest} - {0}:
                own = len(self._own(torch.arange(size)))
                shapes.add((self.side(epoch), own))
        return [
            torch.zeros(count, side, side, 3, dtype=self._dtype, device=self._device).permute(0, 3, 1, 2)
            for side, count in sorted(shapes, reverse=True)
        ]

    def _batches(self, images: int) -> int:
        whole, rest = divmod(images, self.batch_size)
        return whole + (1 if rest and not self._drop_last else 0)

    @property
    def samples(self) -> int:
        """The images in the set."""
        return len(self._labels)

    def plan(self, epoch: int) -> EpochPlan:
        """Every random choice of an epoch, counted from 0."""
        if self._augmentation is None:
            raise UserError("this loader has no augmentation; give it one, or use in_order()")
        a = self._augmentation
        return plan_epoch(
            self._seed,
            epoch,
            samples=self.samples,
            image_size=self._pixels.image_size,
            crop_padding=a.crop_padding,
            crop_size=a.crop(epoch, self._pixels.image_size),
            flip=a.flip,
            cutout=a.cutout,
            cutout_probability=a.cutout_probability,
            shift=a.shift,
            scale=a.scale,
            rotate=a.rotate,
            affine_probability=a.affine_probability,
            brightness=a.brightness,
            contrast=a.contrast,
        )

    def epoch(self, epoch: int, start: int = 0, chosen: Tensor | None = None) -> Iterator[Batch]:
        """The augmented batches of an epoch, counted from 0, beginning with batch `start`.

        Over all images, or those for which `chosen` [N] is true.
        """
        if chosen is not None and (chosen.dtype != torch.bool or chosen.shape != (self.samples,)):
            raise UserError(f"chosen is {chosen.dtype} {list(chosen.shape)}; torch.bool [{self.samples}] is needed")
        plan = self.plan(epoch)
        assert self._augmentation is not None
        sides = self._augmentation.crop(epoch, self._pixels.image_size), self.side(epoch)
        order = as_tensor(plan.order).to(self._device)
        choices = [
            as_tensor(choice).to(self._device)
            for choice in (plan.affine, plan.crop_yx, plan.flip, plan.tone, plan.cutout_yx, plan.cutout)
        ]
        if chosen is not None:
            order = order[chosen[order]]
        for index, own, images_nhwc in self._in_batches(order, start, self._batches(len(order)), self._own):
            yield self._batch(*sides, images_nhwc, index, *(choice.index_select(0, own) for choice in choices))

    def in_order(self, samples: Tensor | None = None) -> Iterator[Batch]:
        """All images, or these `samples` [m], normalised only, in their own order."""
        wanted = torch.arange(self.samples) if samples is None else samples
        for index, _, images_nhwc in self._in_batches(wanted.to(self._device)):
            yield self._finish(images_nhwc, index)

    def _in_batches(
        self,
        order: Tensor,
        start: int = 0,
        end: int | None = None,
        owned: Callable[[Tensor], Tensor] = lambda index: index,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The samples of the batches from `start` to `end`, in this order, those that are `owned`, and their pixels."""
        batches = order.split(self.batch_size)[start:end]
        wanted = order.to(self._pixels.device).split(self.batch_size)[start:end]
        with self._pixels.read_ahead.one_by_one():
            for number, index in enumerate(batches):
                if number == 0:
                    self._pixels.expect(owned(wanted[0]))
                images_nhwc = self._pixels.take(owned(wanted[number]))
                if number + 1 < len(wanted):
                    self._pixels.expect(owned(wanted[number + 1]))
                yield index, owned(index), images_nhwc

    def _own(self, index: Tensor) -> Tensor:
        if self._part is None:
            return index
        own = index[self._part(len(index))]
        return own if len(own) else index[:2]  # two, as norms need more than one

    def _batch(
        self,
        crop: int,
        side: int,
        images_nhwc: Tensor,
        index: Tensor,
        affine: Tensor,
        crop_yx: Tensor,
        flip: Tensor,
        tone: Tensor,
        cutout_yx: Tensor,
        chosen: Tensor,
    ) -> Batch:
        assert self._augmentation is not None
        a, full, hole = self._augmentation, self._pixels.image_size, self._augmentation.cutout
        if a.moves:
            images_nhwc = augment.shift_scale_rotate(images_nhwc, affine)
        images_nhwc = augment.random_crop(images_nhwc, crop_yx, a.crop_padding, a.padding, crop)
        if a.flip != "none":
            images_nhwc = augment.flip_left_right(images_nhwc, flip)
        if side != full:
            images_nhwc = augment.resize(images_nhwc, side)
            hole = round(a.cutout * side / full)
            cutout_yx = cutout_yx * (side - hole + 1) // (full - a.cutout + 1)  # as evenly over the corners it has now
        batch = self._finish(images_nhwc, index, tone if a.tones else None)
        augment.cutout(batch.images_nchw.permute(0, 2, 3, 1), cutout_yx, chosen, hole)
        return batch

    def _finish(self, images_nhwc: Tensor, index: Tensor, tone: Tensor | None = None) -> Batch:
        normalized = augment.normalize(images_nhwc, self.mean, self.std, self._dtype, tone)
        return Batch(normalized.permute(0, 3, 1, 2), self._labels.index_select(0, index), index)
