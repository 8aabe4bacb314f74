"""The part of CIFAR-10's training set on which choices are made, so that the test set is left for results."""

from __future__ import annotations

import functools

import onecycle

HELD_OUT_IMAGES = 5000


@functools.cache
def held_out_data() -> onecycle.Dataset:
    """CIFAR-10's training set in two parts; the second stands in for the test set, which is left behind."""
    images = onecycle.data.cifar10().train
    held_out, rest = onecycle.data.stratified_split(images.labels, HELD_OUT_IMAGES, seed=0)
    return onecycle.Dataset(train=images.subset(rest), test=images.subset(held_out))
