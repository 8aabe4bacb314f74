"""A trained net as a file that works without onecycle: ONNX, torch.export's pt2, or safetensors; and a model card.

What takes images takes them as they are: uint8 [n, side, side, 3]. Normalisation is inside, all numbers are float32,
but for the int8 variant of ONNX.
"""

from .card import write_card
from .deployed import Deployed
from .description import describe
from .exporting import FORMATS, Export, write_export
from .onnx_file import open_onnx
from .verifying import TOLERANCE, Verification

__all__ = [
    "FORMATS",
    "TOLERANCE",
    "Deployed",
    "Export",
    "Verification",
    "describe",
    "open_onnx",
    "write_card",
    "write_export",
]
