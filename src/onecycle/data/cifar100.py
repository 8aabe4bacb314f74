"""CIFAR-100 from its official Python files, which are as CIFAR-10's but for their names and labels.

Alex Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .cifar import SIDE, load
from .cifar_source import Layout
from .fetch import CIFAR100
from .images import Dataset

# Sizes and MD5 of the files: torchvision.datasets.CIFAR100 has the MD5, the git-annex keys of the public repository
# datasets-mila/datasets--cifar100 have both; `meta`, whose content is known, can be written anew to the same MD5.
LAYOUT: Final = Layout(
    title="CIFAR-100",
    name="cifar100",
    archive=CIFAR100,
    folder="cifar-100-python",
    files={
        "train": (155249918, "16019d7e3df5f24257cddd939b257f8d"),
        "test": (31049707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
        "meta": (1473, "7973b15100ade9c7d40fb424638fde48"),
    },
    train_files=("train",),
    test_files=("test",),
    meta_file="meta",
    labels_key=b"fine_labels",
    names_key=b"fine_label_names",
    class_count=100,
    max_file_bytes=192 * 2**20,
)


def cifar100(*, data_dir: Path | None = None, image_size: int = SIDE) -> Dataset:
    """Load CIFAR-100 with its fine labels: 50,000 training and 10,000 test images of 32 x 32, a hundred classes.

    `data_dir` holds `cifar-100-python/` or `cifar-100-python.tar.gz`, or is that folder; for all else see `cifar10`.
    """
    return load(LAYOUT, data_dir, image_size)
