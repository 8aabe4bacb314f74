"""Take a run's net away as a file."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ..data import Dataset, ImageSet
from ..errors import UserError
from ..exporting import Export, write_export
from ..preparation import images_of
from ..progress import default_observer
from ..run import Run


def export(
    run: str | Path | Run,
    *,
    form: str = "onnx",
    int8: bool = False,
    out: str | Path | None = None,
    model: nn.Module | None = None,
    data: Dataset | ImageSet | None = None,
    data_dir: str | Path | None = None,
) -> Export:
    """Write the net of a finished run as a file that works without onecycle, and MODEL_CARD.md beside it.

    `form` is "onnx" (extra `export`), "pt2" (torch.export) or "safetensors" (weights, and their description). The first
    two take uint8 images [n, side, side, 3] of any number and give float32 logits; normalisation is inside. What was
    written is loaded again and compared with the net on the test images, or on random ones where these are not at
    hand, and refused where logits differ by more than 1e-4 (in proportion, where they are larger than 10).

    `int8` quantises the ONNX with ranges from training images; what that costs is measured on the test images. `out` is
    the file, by default RUN/export/model.onnx and the like; `model` and `data` are what the training was handed,
    `data_dir` is where the images lie if no longer where they were. Raises UserError where something is missing, does
    not fit or does not agree; then no file is written.
    """
    opened = Run.of(run)
    opened.summary  # noqa: B018 - a training that has not ended is said first
    why = ""
    try:
        sets = images_of(opened, data=data, data_dir=data_dir, observer=default_observer())
    except UserError as error:
        if data is not None or data_dir is not None or int8:
            raise
        sets, why = None, error.problems[0]
    to = None if out is None else Path(out)
    return write_export(opened, form=form, int8=int8, out=to, model=model, sets=sets, why_no_images=why)
