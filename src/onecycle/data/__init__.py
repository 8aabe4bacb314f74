"""Image sets, the plan of an epoch, augmentation and loading; usable in one's own training loop."""

from .cifar import cifar10
from .cifar100 import cifar100
from .digits import digits
from .images import Dataset, ImageSet, stratified_folds, stratified_split
from .loader import Augmentation, Batch, Loader
from .own import OwnImages, own_files, own_images
from .plan import EpochPlan, plan_epoch
from .rows import Pixels, Rows

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "EpochPlan",
    "ImageSet",
    "Loader",
    "OwnImages",
    "Pixels",
    "Rows",
    "cifar10",
    "cifar100",
    "digits",
    "own_files",
    "own_images",
    "plan_epoch",
    "stratified_folds",
    "stratified_split",
]
