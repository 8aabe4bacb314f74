"""The pictures of the README and of docs/ that come from a run: its report and the page that serves it in a browser,
its mistakes, its Grad-CAM sheet.

python docs/images/make.py RUN      needs the extra dev, Debian's chromium and the run's images
"""

from __future__ import annotations

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import onecycle

HERE = Path(__file__).parent
WIDTH, GALLERY_HEIGHT, SERVED_HEIGHT = 1160, 1000, 680  # pixels


def main() -> None:
    """Write the pictures beside this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = onecycle.load(parser.parse_args().run)
    with tempfile.TemporaryDirectory() as folder:
        photograph(run.report(out=Path(folder) / "report.html"))
    explained = run.explain(count=20)
    assert explained.images is not None, explained.why_no_images
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        Image.fromarray(explained.images.images_nhwc[0]).save(photo)
        photograph_server(run.path, photo)
    figures = explained.figures()
    keep("misclassified", figures["misclassified"])
    keep(
        "grad-cam",
        onecycle.plots.grad_cam_sheet(
            explained.images, explained.mistakes, explained.activations, onecycle.plots.title_of(run), count=10
        ),
    )


def photograph(page: Path) -> None:
    """The report's beginning, and its matrix and gallery with Grad-CAM on."""
    with sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": WIDTH, "height": 900})
        tab.goto(page.resolve().as_uri())
        end = tab.locator("#failures").bounding_box()
        assert end is not None
        tab.screenshot(
            path=HERE / "report.png", full_page=True, clip={"x": 0, "y": 0, "width": WIDTH, "height": end["y"]}
        )
        tab.get_by_text("predicted class", exact=True).first.click()
        tab.evaluate("scrollTo(0, 0)")  # boxes are measured from what is in view
        start = tab.locator("#failures").bounding_box()
        gallery = tab.locator("#gallery").bounding_box()
        assert start is not None and gallery is not None
        height = gallery["y"] - start["y"] + GALLERY_HEIGHT
        tab.screenshot(
            path=HERE / "report-failures.png",
            full_page=True,
            clip={"x": 0, "y": start["y"], "width": WIDTH, "height": height},
        )
        browser.close()


def photograph_server(run: Path, photo: Path) -> None:
    """The page of `onecycle serve` with a test image dropped."""
    command = [sys.executable, "-m", "onecycle", "serve", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as started:
        assert server.stdout is not None
        told = re.search(r"http://\S+:\d+", server.stdout.readline())
        assert told is not None, "it does not serve"
        browser = started.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_page(viewport={"width": WIDTH, "height": SERVED_HEIGHT})
        tab.goto(told[0])
        tab.set_input_files("#photo", photo)
        tab.locator(".answers").wait_for()
        tab.screenshot(path=HERE / "serve.png")
        browser.close()
        server.send_signal(signal.SIGTERM)


def keep(name: str, figure: onecycle.plots.Figure) -> None:
    """Write a sheet of images small enough for a repository: 256 colours."""
    path = onecycle.plots.save(figure, HERE / f"{name}.png")
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main()
