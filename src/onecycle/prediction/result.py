"""What a net says of images."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from ..evaluation import Labels, Logits, percent, probabilities

SHOWN: Final = 12  # images in a notebook
_TOP_SHOWN: Final = 3
_CELL: Final = 'style="text-align: left; vertical-align: middle"'


class Ranked(NamedTuple):
    """A class by name and number, and its probability."""

    name: str
    label: int
    probability: float


@dataclass(frozen=True, eq=False, repr=False)
class Predictions:
    """The logits, float32 [n, classes], of n images, and what follows from them; `onecycle.predict` makes one.

    Where the images were files, `paths` has the path of each, and `damaged` has those that could not be read, with the
    reason. A notebook shows the first ones, whose pixels are `first_nhwc`.
    """

    logits: Logits
    classes: tuple[str, ...]
    paths: tuple[Path, ...] | None = None
    damaged: dict[Path, str] = field(default_factory=dict)
    first_nhwc: NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self.logits)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The softmax of the logits, [n, classes]."""
        return probabilities(self.logits)

    @cached_property
    def labels(self) -> Labels:
        """The number of the most probable class of each image, int64 [n]; of equal ones the first."""
        return np.asarray(self.logits.argmax(axis=1), np.int64)

    @property
    def names(self) -> list[str]:
        """The name of the most probable class of each image."""
        return [self.classes[label] for label in self.labels]

    def top(self, k: int | None = None) -> list[list[Ranked]]:
        """The k most probable classes of each image, the most probable first; of equal ones the first of the classes.

        By default five, or all where there are fewer. Raises UserError where there are not so many as are asked for.
        """
        k = min(5, len(self.classes)) if k is None else k
        check_top(k, len(self.classes))
        order = np.argsort(-self.logits, axis=1, kind="stable")[:, :k]
        chosen = np.take_along_axis(self.probabilities, order, axis=1)
        return [
            [Ranked(self.classes[label], label, share) for label, share in zip(*row, strict=True)]
            for row in zip(order.tolist(), chosen.tolist(), strict=True)
        ]

    def to_list(self, k: int | None = None) -> list[dict[str, Any]]:
        """An entry an image, as JSON has it: its path where it has one, and its `top` classes."""
        paths = [{}] * len(self) if self.paths is None else [{"path": str(path)} for path in self.paths]
        return [
            {**path, "top": [{"class": one.name, "label": one.label, "probability": one.probability} for one in row]}
            for path, row in zip(paths, self.top(k), strict=True)
        ]

    def __repr__(self) -> str:
        lines = [f"Predictions of {len(self):,} images in {len(self.classes):,} classes"]
        for number, row in enumerate(self._first().top(self._shown_classes)):
            said = "  ".join(f"{one.name} {percent(one.probability)}" for one in row)
            lines.append(f"{self._name(number)}  {said}")
        if len(self) > SHOWN:
            lines.append(f"... and {len(self) - SHOWN:,} more")
        lines += [f"{path}: {reason}" for path, reason in list(self.damaged.items())[:SHOWN]]
        if len(self.damaged) > SHOWN:
            lines.append(f"... and {len(self.damaged) - SHOWN:,} more that could not be read")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """A table for notebooks: the first images, each with its most probable classes."""
        rows = []
        for number, row in enumerate(self._first().top(self._shown_classes)):
            said = "<br>".join(f"{html.escape(one.name)} {percent(one.probability)}" for one in row)
            cells = (self._picture(number), html.escape(self._name(number)), said)
            rows.append("<tr>" + "".join(f"<td {_CELL}>{cell}</td>" for cell in cells) + "</tr>")
        headline, *_ = repr(self).splitlines()
        rest = [f"... and {len(self) - SHOWN:,} more"] if len(self) > SHOWN else []
        if self.damaged:
            rest.append(f"{len(self.damaged):,} files could not be read; see .damaged")
        said = "".join(f"<div>{html.escape(line)}</div>" for line in rest)
        return f"<div>{html.escape(headline)}</div><table>{''.join(rows)}</table>{said}"

    def _first(self) -> Predictions:
        return Predictions(self.logits[:SHOWN], self.classes)

    @property
    def _shown_classes(self) -> int:
        return min(_TOP_SHOWN, len(self.classes))

    def _name(self, number: int) -> str:
        return f"image {number}" if self.paths is None else str(self.paths[number])

    def _picture(self, number: int) -> str:
        if self.first_nhwc is None:
            return ""
        buffer = io.BytesIO()
        Image.fromarray(self.first_nhwc[number]).save(buffer, "PNG")
        data = base64.b64encode(buffer.getvalue()).decode()
        return f'<img src="data:image/png;base64,{data}" width="64" style="image-rendering: pixelated">'


def check_top(k: int, classes: int) -> None:
    """Raise UserError where there are not so many classes."""
    if not 1 <= k <= classes:
        raise UserError(f"top {k} is not allowed; 1 to {classes}, as there are {classes} classes")
