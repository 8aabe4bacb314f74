"""The net as it is taken away: from the pixels of images to logits."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..errors import UserError

INPUT, OUTPUT = "images", "logits"


class Deployed(nn.Module):
    """Images uint8 [n, side, side, 3] to float32 logits [n, classes]; in eval mode, float32, on the CPU."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.net = net.cpu().float().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in std]))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]))
        self.eval().requires_grad_(False)

    def forward(self, images_nhwc: Tensor) -> Tensor:
        """Return the logits."""
        normalized = images_nhwc.to(torch.float32) * self.scale + self.shift
        logits: Tensor = self.net(normalized.permute(0, 3, 1, 2))
        return logits.to(torch.float32)


def traced(deployed: Deployed, side: int) -> ExportedProgram:
    """The net as a graph that takes any number of images. Raises UserError where it cannot be made one."""
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)  # of one image, the number would be taken for fixed
    try:
        with quiet(), contextlib.redirect_stderr(io.StringIO()):  # on which a graph is printed that is not finished
            return torch.export.export(deployed, (example,), dynamic_shapes=({0: Dim("n")},))
    except Exception as error:  # whatever the code of a net handed in makes of being traced
        reason = " ".join(str(error).split()).partition(". ")[0][:300]
        raise UserError(
            f"the net {type(deployed.net).__name__} cannot be traced by torch.export for any number of images "
            f"({reason}); --format safetensors needs no tracing"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and log lines of exporters off the terminal; what goes wrong they raise."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
