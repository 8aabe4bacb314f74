"""What a trained net says of images: arrays, images that Pillow holds, and files, as many as there are."""

from .listing import list_images, read_list
from .predictor import Predictor
from .result import Predictions, Ranked
from .stream import FileBatch, predict_files
from .writing import FORMATS, Writer, writer

__all__ = [
    "FORMATS",
    "FileBatch",
    "Predictions",
    "Predictor",
    "Ranked",
    "Writer",
    "list_images",
    "predict_files",
    "read_list",
    "writer",
]
