"""A run's net, loaded once, for many who ask at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import ImageSet
from ..data.decode import decode
from ..errors import UserError
from ..evaluation import Mistakes, evaluate_run, mistakes
from ..explanation import Activations, default_layer, explain, map_layers
from ..prediction import Predictions, Predictor
from ..preparation import images_of
from ..progress import default_observer
from ..run import Run

_T = TypeVar("_T")


class Seen(NamedTuple):
    """An image as the net sees it, uint8 [side, side, 3], and what the net says of it."""

    pixels: NDArray[np.uint8]
    predictions: Predictions


class Inference:
    """The net of a finished run and the images of its test set that it got wrong.

    Files are decoded in one thread, and the net works in one other: a pass uses all cores by itself, Grad-CAM hangs
    hooks into the net, and the costliest image that is allowed takes gigabytes. Raises UserError where something of the
    run is missing or damaged, or the images that `data_dir` is said to hold are not those.
    """

    def __init__(self, run: Run, *, device: torch.device, data_dir: Path | None = None) -> None:
        self.run, self.device = run, device
        self.summary = run.summary
        self._predictor = Predictor(run, device=device)
        self._net = self._predictor.net
        self._statistics = run.recipe.data.statistics
        self.accuracy = evaluate_run(run).accuracy
        stored = run.predictions()
        self.mistakes = mistakes(stored["logits"], stored["labels"])
        self.tested = len(stored["labels"])
        self.images, self.why_no_images = _images(run, data_dir)
        self.layers, self.layer, self.why_no_maps = self._layers()
        threads = torch.get_num_threads()
        # A thread starts with as many as there are cores, whatever the main one was told.
        self._net_thread = ThreadPoolExecutor(1, "net", torch.set_num_threads, (threads,))
        self._decoder = ThreadPoolExecutor(1, "decoder")

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names."""
        return self._predictor.classes

    @property
    def side(self) -> int:
        """Height, and width, in pixels, of what the net sees."""
        return self._predictor.side

    def see(self, content: bytes) -> Seen:
        """What the net says of the image in a file's content. Raises BadImage where it is none that can be read."""
        fit = self._predictor.recipe.data.fit
        pixels = self._decoder.submit(decode, content, side=self.side, fit=fit).result()
        logits_nk = self._in_net_thread(lambda: self._predictor.logits(pixels[None])).result()
        return Seen(pixels, Predictions(logits_nk, self.classes))

    def map_of(self, pixels: NDArray[np.uint8], label: int, layer: str) -> NDArray[np.float32]:
        """Grad-CAM of one image for one class: [h, w] in 0..1 at the layer's size. Raises UserError, see `explain`."""
        image = ImageSet(pixels[None], np.array([label]), self.classes)
        one, sure = np.array([label]), np.ones(1)
        found: NDArray[np.float32] = self._explain(image, Mistakes(np.zeros(1, np.int64), one, one, sure, sure), layer)[
            0
        ]
        return found

    def maps_of(self, chosen: Mistakes, *, predicted: bool) -> NDArray[np.float32]:
        """Grad-CAM of mistakes, for the class that was predicted or the true one: [m, h, w] in 0..1."""
        assert self.images is not None
        return self._explain(self.images, chosen, self.layer, predicted=predicted)

    def close(self) -> None:
        """End the threads, after what they are at."""
        self._decoder.shutdown(cancel_futures=True)
        self._net_thread.shutdown(cancel_futures=True)

    def _explain(
        self, images: ImageSet, chosen: Mistakes, layer: str, *, predicted: bool = True
    ) -> NDArray[np.float32]:
        mean, std = self._statistics

        def maps() -> Activations:
            return explain(self._net, images, chosen, mean=mean, std=std, device=self.device, layer=layer)

        found = self._in_net_thread(maps).result()
        return found.of_predicted if predicted else found.of_true

    def _in_net_thread(self, work: Callable[[], _T]) -> Future[_T]:
        return self._net_thread.submit(work)

    def _layers(self) -> tuple[list[str], str, str]:
        """Those that have maps, the one that explains the net, and why there is none."""
        example = torch.zeros(1, 3, self.side, self.side)
        try:
            layer = default_layer(self._net, example)
            return list(dict.fromkeys([*map_layers(self._net, example), layer])), layer, ""
        except UserError as error:
            return [], "", str(error)


def _images(run: Run, data_dir: Path | None) -> tuple[ImageSet | None, str]:
    """The test images, or why they are not at hand."""
    try:
        return images_of(run, data_dir=data_dir, observer=default_observer()).test, ""
    except UserError as error:
        if data_dir is not None:
            raise
        return None, str(error)
