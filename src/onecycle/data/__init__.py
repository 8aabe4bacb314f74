"""Image sets, the plan of an epoch, augmentation and loading; usable in one's own training loop."""

from .cifar import cifar10
from .digits import digits
from .images import Dataset, ImageSet, stratified_split
from .loader import Augmentation, Batch, Loader
from .plan import EpochPlan, plan_epoch

__all__ = [
    "Augmentation",
    "Batch",
    "Dataset",
    "EpochPlan",
    "ImageSet",
    "Loader",
    "cifar10",
    "digits",
    "plan_epoch",
    "stratified_split",
]
