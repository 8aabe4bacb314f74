"""How fast this machine's processor predicts: our net and what is exported of it, forward only and from image files.

    python benchmarks/predict.py [RUN] [--quick] [--out DIR]

Nothing else should be running. RUN is a finished run; without one a custom ResNet is trained for a step on random
images, which is as fast. The table is kept as benchmarks/results/predict_HARDWARE.csv, the samples and the environment
beside it as JSON. Sides take turns, the warm-up of each is left out. A row's value is the median of its n samples; its
ratio to the row named in `reference` is taken in each round.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring.arguments import RESULTS
from measuring.arguments import run as run_command
from measuring.images import random_images
from measuring.rates import matrix_gflops
from measuring.session import begin, end
from measuring.settings import CPU, PRECISION, Samples
from measuring.table import Row, rendered, results
from numpy.typing import NDArray
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

import onecycle
from onecycle.data import Dataset
from onecycle.exporting import Deployed, describe, onnx_file, open_onnx
from onecycle.exporting.deployed import traced
from onecycle.hardware import device_name
from onecycle.prediction import Predictor, predict_files
from onecycle.preparation import trained_net

PHOTO = (640, 480)  # pixels, of a JPEG file
ROWS = (
    Row("matmul_bf16", "matrix product, bfloat16", "GFLOP/s"),
    Row("matmul_fp32", "matrix product, float32", "GFLOP/s"),
    Row("forward_bf16_gflops", "forward, bfloat16, of the matrix product", "GFLOP/s", "matmul_bf16"),
    Row("forward_fp32_gflops", "forward, float32, of the matrix product", "GFLOP/s", "matmul_fp32"),
    Row("forward_bf16", "forward, PyTorch, bfloat16", "images/s"),
    Row("forward_fp32", "forward, PyTorch, float32", "images/s", "forward_bf16"),
    Row("onnx_fp32", "forward, onnxruntime, float32", "images/s", "forward_fp32"),
    Row("onnx_int8", "forward, onnxruntime, int8", "images/s", "forward_bf16"),
    Row("png", f"from PNG files of the net's size, {PRECISION}", "images/s", f"forward_{PRECISION}"),
    Row("jpeg", f"from JPEG files of {PHOTO[0]} x {PHOTO[1]} pixels, {PRECISION}", "images/s", f"forward_{PRECISION}"),
)


@dataclass(frozen=True)
class Settings:
    """How much is measured."""

    model: str = "custom_resnet"
    batch: int = 512
    batches: int = 3  # in a sample
    onnx_batch: int = 64  # onnxruntime is as fast as with more
    rounds: int = 5
    matrix: int = 4096  # side
    train_images: int = 512


QUICK = Settings(model="compact", batch=16, batches=2, onnx_batch=16, rounds=2, matrix=128, train_images=64)


def main() -> None:
    """Measure what is asked for, print it, keep it."""
    parser = argparse.ArgumentParser(description="Measure how fast this machine's processor predicts.")
    parser.add_argument("run", nargs="?", type=Path, metavar="RUN", help="a finished run; else one is made")
    parser.add_argument("--quick", action="store_true", help="everything tiny, to see that it works")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to keep CSV and JSON (benchmarks/results)")
    run_command(parser, measure)


def measure(arguments: argparse.Namespace) -> None:
    """Measure, print, keep."""
    settings = QUICK if arguments.quick else Settings()
    onnx_file.check_extra()
    console, load = begin()
    samples: Samples = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        run = trained_run(settings, Path(folder)) if arguments.run is None else onecycle.load(arguments.run)
        gflop = forward_gflop(run)
        measure_sides(settings, sides(settings, run, Path(folder)), gflop, samples)
        what = run.recipe.model.name
    table = results(samples, ROWS)
    console.print(rendered(table, f"{what}, {gflop:.3g} GFLOP an image; {device_name(CPU)}", ROWS))
    record = {
        "net": what,
        "gflop_per_image": gflop,
        "load_average_before": load,
        "settings": asdict(settings),
        "samples": samples,
    }
    end(console, "predict", arguments.out or (None if arguments.quick else RESULTS), table, record)


def trained_run(settings: Settings, folder: Path) -> onecycle.Run:
    """A run of a step or a few."""
    images = random_images(settings.train_images)
    few: dict[str, Any] = {
        "model.name": settings.model,
        "data.batch_size": settings.batch,
        "schedule.epochs": 1,
        "schedule.peak_epoch": 0.5,
        "schedule.lr_min": 0.001,
        "schedule.lr_max": 0.01,
    }
    data = Dataset(images, images.subset(np.arange(settings.batch)))
    silent = onecycle.Observer()
    onecycle.train("custom_resnet", data=data, out=folder / "run", device="cpu", observer=silent, **few)
    return onecycle.load(folder / "run")


def forward_gflop(run: onecycle.Run) -> float:
    """GFLOP of an image, counted by PyTorch from convolutions and matrix products alone."""
    side = run.recipe.data.image_size
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trained_net(run, device=CPU)(torch.zeros(1, 3, side, side))
    return float(counter.get_total_flops()) / 1e9


def sides(settings: Settings, run: onecycle.Run, folder: Path) -> dict[str, Callable[[], int]]:
    """What is timed, by row; each call says how many images it has predicted."""
    side = run.recipe.data.image_size
    count = settings.batch * settings.batches
    images = random_images(count)
    pixels_nhwc = np.asarray(images.images_nhwc)
    if side != images.image_size:
        pixels_nhwc = np.stack([resized(one, (side, side)) for one in pixels_nhwc])
    nets = {
        precision: Predictor(run, device=CPU, batch_size=settings.batch, precision=precision)
        for precision in ("bf16", "fp32")
    }
    whole, quantized = folder / "float32.onnx", folder / "int8.onnx"
    mean, std = run.recipe.data.statistics
    program = traced(Deployed(trained_net(run, device=CPU), mean=mean, std=std), side)
    onnx_file.write_onnx(whole, program, describe(run))
    calibration = onecycle.ImageSet(pixels_nhwc, images.labels, images.classes)
    onnx_file.quantize(whole, quantized, calibration)
    files = {kind: write_files(folder / kind, kind, pixels_nhwc) for kind in ("png", "jpeg")}
    ours = nets["bf16" if PRECISION == "bf16" else "fp32"]
    return {
        **{f"forward_{precision}": predicting(net.logits, pixels_nhwc, count) for precision, net in nets.items()},
        "onnx_fp32": predicting(open_onnx(whole), pixels_nhwc, settings.onnx_batch),
        "onnx_int8": predicting(open_onnx(quantized), pixels_nhwc, settings.onnx_batch),
        **{kind: reading(ours, paths) for kind, paths in files.items()},
    }


def predicting(
    net: Callable[[NDArray[np.uint8]], NDArray[np.float32]], pixels_nhwc: NDArray[np.uint8], batch: int
) -> Callable[[], int]:
    """All images, `batch` at a time."""

    def predict() -> int:
        return sum(len(net(pixels_nhwc[at : at + batch])) for at in range(0, len(pixels_nhwc), batch))

    return predict


def reading(net: Predictor, paths: list[Path]) -> Callable[[], int]:
    """All files."""
    return lambda: sum(len(part.paths) for part in predict_files(net, paths, "crop"))


def write_files(folder: Path, kind: str, pixels_nhwc: NDArray[np.uint8]) -> list[Path]:
    """An image file each; a JPEG shows its image enlarged, as noise would take more bytes than photographs do."""
    folder.mkdir()
    paths = [folder / f"{number}.{kind}" for number in range(len(pixels_nhwc))]
    for path, pixels in zip(paths, pixels_nhwc, strict=True):
        Image.fromarray(pixels if kind == "png" else resized(pixels, PHOTO)).save(path)
    return paths


def resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """By Pillow's bicubic filter."""
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))


def measure_sides(
    settings: Settings, timed_sides: dict[str, Callable[[], int]], gflop: float, samples: Samples
) -> None:
    """In turn, every other round the other way about, with matrix products before each round."""
    for turn in range(settings.rounds + 1):
        for precision in ("bf16", "fp32"):
            rates = matrix_gflops(CPU, precision, side=settings.matrix)
            if turn:
                samples[f"matmul_{precision}"].append(rates)
        for name in list(timed_sides)[:: -1 if turn % 2 else 1]:
            begin = time.perf_counter()
            images = timed_sides[name]()
            rate = images / (time.perf_counter() - begin)
            if turn:  # the first is the warm-up
                samples[name].append([rate])
                if name.startswith("forward"):
                    samples[f"{name}_gflops"].append([gflop * rate])


if __name__ == "__main__":
    main()
