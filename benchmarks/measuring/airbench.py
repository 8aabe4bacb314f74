"""The fastest trainings published for CIFAR-10, run from folders of their own, for a comparison on one machine.

None of their code is here. A file is read, and on CUDA run as it stands but for torchvision and the data, which come
from us. On a CPU airbench94_muon is changed as a straightforward port would: float32 weights and images, bfloat16
autocast where the processor has it, channels-last, eager, the host's clock. Each changed text must be there exactly so
often, so that a file of another version is refused rather than half changed.
"""

from __future__ import annotations

import contextlib
import math
import random
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from onecycle import UserError
from onecycle.data import Dataset, ImageSet
from onecycle.hardware import autocast, resolve_precision

from .flops import muon_gflop, training_gflop_of


@dataclass(frozen=True)
class Source:
    """A file of somebody else's: where it is from, and the texts that are changed.

    `on_cpu`: text, what takes its place, how often it is there; None where it is for CUDA alone. `epochs`, `batch`: the
    texts with the number of epochs and the batch size, and what these are. `seconds`: its name for the time.
    """

    name: str
    file: str
    repository: str
    commit: str
    epochs: tuple[str, float]
    batch: tuple[str, int]
    seconds: str = "time_seconds"
    on_cpu: tuple[tuple[str, str, int], ...] | None = None


_AIRBENCH = "github.com/KellerJordan/cifar10-airbench", "f1c599c"
SOURCES = {
    "airbench94_muon": Source(
        "airbench94_muon",
        "airbench94_muon.py",
        *_AIRBENCH,
        epochs=("ceil({} * len(train_loader))", 8),
        batch=("batch_size = {}\n    bias_lr", 2000),
        on_cpu=(
            ("@torch.compile\n", "", 1),
            ('map_location=torch.device("cuda")', 'map_location=torch.device("cpu")', 1),
            ("self.images.half()", "self.images.float()", 1),
            ("mod.half()", "mod.float()", 1),
            ("torch.cuda.Event(enable_timing=True)", "HostEvent()", 2),
            ("torch.cuda.synchronize()", "pass", 1),
        ),
    ),
    "airbench96_faster": Source(
        "airbench96_faster",
        "airbench96_faster.py",
        *_AIRBENCH,
        epochs=("'train_epochs': {}", 45.0),
        batch=("'batch_size': {},", 1024),
        seconds="total_time_seconds",
    ),
    "hiverge": Source(
        "hiverge",
        "cifar10_speedrun.py",
        "github.com/hiverge/cifar10-speedrun",
        "5cd49b1",
        epochs=("ceil({} * len(train_loader))", 7.59),
        batch=("training_batch_size = {}", 1536),
    ),
}
_NEWTON_SCHULZ_STEPS = 3  # in each of Muon's


@dataclass(frozen=True)
class PeerResult:
    """Accuracies are fractions. `seconds` is all that they count: whitening, training and test-time augmentation.

    `train_seconds` and `tta_seconds` are its parts, None where the file does not tell them apart.
    """

    seed: int
    accuracy: float
    accuracy_tta: float
    train_seconds: float | None
    tta_seconds: float | None
    seconds: float


class HostEvent:
    """Stands for torch.cuda.Event where everything runs on the host."""

    def record(self) -> None:
        """Take the time."""
        self._at = time.perf_counter()

    def elapsed_time(self, end: HostEvent) -> float:
        """Milliseconds until the other event."""
        return 1000 * (end._at - self._at)


class Peer:
    """One of `SOURCES`, loaded from `folder`, with the images that it trains on and is tested with.

    `epochs` and `batch` change what the file says. Raises UserError where the folder has no such file, where the file
    is of another version, and where it cannot run on the device.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        data: Dataset,
        device: torch.device,
        *,
        epochs: float | None = None,
        batch: int | None = None,
    ) -> None:
        self.source, self.device, self._data = SOURCES[name], device, data
        self.epochs = self.source.epochs[1] if epochs is None else epochs
        self.batch = self.source.batch[1] if batch is None else batch
        if self.batch > len(data.train):
            raise UserError(f"{name}: a batch of {self.batch} is larger than the training set of {len(data.train)}")
        self.precision = resolve_precision("auto", device) if device.type == "cpu" else "fp16"
        path = folder / self.source.file
        text = self._adapted(path, _read(path))
        with _benchmark_mode_kept():
            self._theirs = _module(self.source.name, path, text)
            self._benchmark_mode = torch.backends.cudnn.benchmark
        self._said: list[dict[str, Any]] = []
        self._theirs.__dict__["print_training_details"] = self._hear
        self._nets: tuple[Any, ...] = ()

    @property
    def steps(self) -> int:
        """Optimiser steps of a training."""
        return math.ceil(self.epochs * (len(self._data.train) // self.batch))

    def pflop(self) -> float | None:
        """Of a training, without evaluation; None for airbench96_faster, which has two nets and leaves images out."""
        if self.source.name == "airbench96_faster":
            return None
        with torch.device("meta"):
            net = self._theirs.CifarNet()
            images_nchw = torch.empty(2, 3, 32, 32, dtype=net.head.weight.dtype)
        filters = [tuple(one.shape) for one in net.parameters() if one.ndim == 4 and one.requires_grad]
        matrices = [(shape[0], math.prod(shape[1:])) for shape in filters]
        if self.source.name == "hiverge":  # which pads all of them to one shape
            largest = max(rows for rows, _ in matrices), max(columns for _, columns in matrices)
            matrices = [largest for _ in matrices]
        net.float()
        gflop_an_image = training_gflop_of(net, images_nchw.float())
        return self.steps * (self.batch * gflop_an_image + muon_gflop(matrices, iterations=_NEWTON_SCHULZ_STEPS)) / 1e6

    def warm_up(self) -> None:
        """Build their nets, and on CUDA train them once, which compiles what they compile."""
        self._nets = self._built()
        if self.device.type == "cuda":
            with self._surroundings():
                self._main("warmup", 0)

    def train(self, seed: int) -> PeerResult:
        """Train and test once, warmed up."""
        if not self._nets:
            self.warm_up()
        with self._surroundings():
            returned = self._main(seed, seed)
        *_, before, final = [{}, *self._said]
        name = self.source.seconds
        if self.source.name == "hiverge":  # which says all of it once, test-time augmentation within its time
            accuracy, accuracy_tta, seconds = returned
            return PeerResult(seed, accuracy, accuracy_tta, None, None, seconds)
        seconds = final[name]
        return PeerResult(seed, before["val_acc"], final["tta_val_acc"], before[name], seconds - before[name], seconds)

    @contextlib.contextmanager
    def _surroundings(self) -> Iterator[None]:
        """A folder with the images where they look for them, and cuDNN's mode as they set it."""
        with _benchmark_mode_kept(), tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            torch.backends.cudnn.benchmark = self._benchmark_mode
            _write_images(Path(folder) / "cifar10", self._data)
            yield

    def _main(self, run: int | str, seed: int) -> Any:
        """Their main function, seeded: they seed nothing themselves."""
        random.seed(seed)  # which airbench96_faster draws its seeds from
        torch.manual_seed(seed)
        self._said.clear()
        arguments = (self._theirs.hyp,) if self.source.name == "airbench96_faster" else ()
        return self._theirs.main(run, *arguments, *self._nets)

    def _hear(self, variables: Mapping[str, Any], is_final_entry: bool) -> None:
        """Take what they would print: numbers among the variables of their main function."""
        self._said.append({name: value for name, value in variables.items() if isinstance(value, int | float)})

    def _built(self) -> tuple[Any, ...]:
        """Their nets, made and compiled as their own scripts do it."""
        theirs = self._theirs
        if self.source.name == "airbench96_faster":
            proxy, train_bias, freeze_bias = (theirs.make_net(theirs.hyp[key]) for key in ("proxy", "net", "net"))
            proxy[0].bias.requires_grad = freeze_bias[0].bias.requires_grad = False
            return tuple(torch.compile(net, mode="max-autotune") for net in (proxy, train_bias, freeze_bias))
        net = theirs.CifarNet().to(self.device).to(memory_format=torch.channels_last)
        if self.device.type == "cuda":
            net.compile(mode="max-autotune")
        else:
            net.forward = _in_autocast(net.forward, self.precision, self.device)
        return (net,)

    def _adapted(self, path: Path, text: str) -> str:
        """The text for this device, with these epochs and this batch size."""
        source = self.source
        changes = [
            (place.format(was), place.format(now), 1)
            for (place, was), now in ((source.epochs, self.epochs), (source.batch, self.batch))
        ]
        if self.device.type != "cuda":
            if source.on_cpu is None:
                raise UserError(f"{path}: {source.name} runs on CUDA alone, and this is {self.device}")
            changes += source.on_cpu
        for old, new, times in changes:
            if text.count(old) != times:
                version = f"{source.repository} at {source.commit}"
                raise UserError(
                    f"{path}: of another version; {old.strip()!r} is there {text.count(old)} times, "
                    f"not {times} as in {version}"
                )
            text = text.replace(old, new)
        return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({error}); name the folder of a checkout") from None


def _module(name: str, path: Path, text: str) -> ModuleType:
    """Run the text as a module of that name, not as a script."""
    module = ModuleType(name)
    module.__dict__.update(__file__=str(path), HostEvent=HostEvent)
    sys.modules[name] = module  # where torch.compile looks for a function's globals
    argv = sys.argv
    sys.argv = [str(path)]  # which some of them read, to log their own text
    try:
        with warnings.catch_warnings():
            # Of a backslash in one of their docstrings; the latter from Python 3.12 on.
            for kind in (DeprecationWarning, SyntaxWarning):
                warnings.simplefilter("ignore", kind)
            code = compile(text, str(path), "exec", dont_inherit=True)
        with _without_torchvision():
            exec(code, module.__dict__)
    finally:
        sys.argv = argv
    return module


@contextlib.contextmanager
def _without_torchvision() -> Iterator[None]:
    """Put the one transform that they use in the place of torchvision, whether or not that is there."""
    package, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
    package.__dict__["transforms"] = transforms
    transforms.__dict__["Normalize"] = Normalize
    stand_ins = {"torchvision": package, "torchvision.transforms": transforms}
    before: Mapping[str, ModuleType | None] = {name: sys.modules.get(name) for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


class Normalize:
    """torchvision.transforms.Normalize, for batches [n, channels, h, w]: (x - mean) / std in the type of x."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self._mean, self._std = mean, std

    def __call__(self, images_nchw: Tensor) -> Tensor:
        """A new tensor."""
        mean, std = (one.to(images_nchw).view(-1, 1, 1) for one in (self._mean, self._std))
        return (images_nchw - mean).div_(std)


def _write_images(folder: Path, data: Dataset) -> None:
    """The files that they would make of torchvision's data set."""
    folder.mkdir()
    for name, images in (("train.pt", data.train), ("test.pt", data.test)):
        torch.save(_as_theirs(images), folder / name)


def _as_theirs(images: ImageSet) -> dict[str, Any]:
    return {
        "images": torch.tensor(images.images_nhwc),
        "labels": torch.tensor(images.labels),
        "classes": list(images.classes),
    }


def _in_autocast(forward: Callable[..., Tensor], precision: str, device: torch.device) -> Callable[..., Tensor]:
    """The same with its products in that precision; the logits come back in float32."""

    def cast(*arguments: Any, **options: Any) -> Tensor:
        with autocast(precision, device):
            return forward(*arguments, **options).float()

    return cast


@contextlib.contextmanager
def _benchmark_mode_kept() -> Iterator[None]:
    """Put cuDNN's benchmark mode back, which they switch on for the whole process."""
    before = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
