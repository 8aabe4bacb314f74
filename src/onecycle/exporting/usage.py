"""How an exported file is used without onecycle: code that a model card shows, and that runs as it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from ..recipes import Recipe

_FITTED: Final = {
    "crop": """\
image = ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BICUBIC)  # the middle square
""",
    "pad": """\
size = [max(round(SIDE * pixels / max(image.size)), 1) for pixels in image.size]
whole = image.resize(size, Image.Resampling.BICUBIC)
image = Image.new("RGB", (SIDE, SIDE))  # black
image.paste(whole, ((SIDE - whole.width) // 2, (SIDE - whole.height) // 2))
""",
    "squash": """\
image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
""",
}
_IMAGE: Final = """\
image = ImageOps.exif_transpose(Image.open("photo.jpg"))
if image.mode.startswith("I"):  # 16 bits
    image = Image.fromarray((np.asarray(image) / 257).round().clip(0, 255).astype(np.uint8))
if image.has_transparency_data:  # over white
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
image = image.convert("RGB")
FITTEDimages = np.asarray(image)[None]  # uint8 [n, SIDE, SIDE, 3], n as you like
"""
_TOP: Final = """\
odds = np.exp(logits - logits.max(axis=1, keepdims=True))
probabilities = odds / odds.sum(axis=1, keepdims=True)
for label in probabilities[0].argsort()[::-1][:3]:
    print(f"{classes[label]}: {probabilities[0][label]:.1%}")
"""
_ONNX: Final = """\
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(FILE, providers=["CPUExecutionProvider"])
classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])
IMAGElogits = session.run(["logits"], {"images": images})[0]
TOP"""
_PT2: Final = """\
import json

import numpy as np
import torch
from PIL import Image, ImageOps

extra = {"onecycle.json": ""}
net = torch.export.load(FILE, extra_files=extra).module()
classes = json.loads(extra["onecycle.json"])["classes"]
IMAGElogits = net(torch.from_numpy(images.copy())).detach().numpy()
TOP"""
_SAFETENSORS: Final = """\
import json

from safetensors import safe_open

with safe_open(FILE, framework="pt") as file:
    weights = {name: file.get_tensor(name) for name in file.keys()}
    classes = json.loads(file.metadata()["classes"])
    mean, std = (json.loads(file.metadata()[key]) for key in ("mean", "std"))
print(len(weights), "tensors,", len(classes), "classes")
"""
_INSTALL: Final = {
    "onnx": "Needs `pip install onnxruntime pillow`.",
    "pt2": "Needs `pip install torch numpy pillow`.",
    "safetensors": "Weights alone: the net is built in your own code, and images are normalised as "
    "(x / 255 - mean) / std. Needs `pip install safetensors torch`.",
}


def how_to(path: Path, form: str, recipe: Recipe) -> str:
    """A sentence and a piece of Python that predicts photo.jpg, with the file in the working folder."""
    code = {"onnx": _ONNX, "pt2": _PT2, "safetensors": _SAFETENSORS}[form]
    side = str(recipe.data.image_size)
    code = code.replace("IMAGE", _IMAGE, 1).replace("TOP", _TOP)
    code = code.replace("FITTED", _FITTED[recipe.data.fit]).replace("SIDE", side).replace("FILE", json.dumps(path.name))
    return f"{_INSTALL[form]}\n\n```python\n{code}```"
