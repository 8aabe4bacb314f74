"""What the server is made of: the net for many at once, the mistakes, names as text, addresses, and what is refused."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from served import CLASSES, trained
from test_cli import refused

from onecycle import UserError
from onecycle.run import Run
from onecycle.serving import browsing, looks, parts, starting
from onecycle.serving.addresses import host_check, listen, url_of
from onecycle.serving.inference import Inference


@pytest.fixture(scope="module")
def run() -> Run:
    return trained()


def test_maps_are_those_of_explain_also_from_many_threads(run: Run) -> None:
    inference = Inference(run, device=torch.device("cpu"))
    some = inference.mistakes.subset(np.arange(6))
    assert inference.images is not None and inference.layer in inference.layers and len(inference.layers) > 3
    together = inference.maps_of(some, predicted=True)
    with ThreadPoolExecutor(6) as pool:
        pixels = [inference.images.images_nhwc[index] for index in some.index]
        alone = list(pool.map(inference.map_of, pixels, some.predicted.tolist(), [inference.layer] * 6))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert not any(module._forward_hooks for module in inference._net.modules())
    expected = run.explain(count=6, device="cpu").activations
    assert expected is not None
    np.testing.assert_allclose(together, expected.of_predicted, atol=1e-4)
    inference.close()


def test_without_the_test_images_it_says_what_is_missing(run: Run, tmp_path: Path) -> None:
    data = run.path.parent / "images.npz"
    aside = data.rename(tmp_path / "aside.npz")
    try:
        inference = Inference(run, device=torch.device("cpu"))
        assert "The test images are not at hand: " in browsing.instead(inference)
        assert "images.npz" in browsing.instead(inference)
        inference.close()
        with pytest.raises(UserError):
            Inference(run, device=torch.device("cpu"), data_dir=tmp_path)
    finally:
        aside.rename(data)


def test_mistakes_are_chosen_by_class_the_surest_first(run: Run) -> None:
    inference = Inference(run, device=torch.device("cpu"))
    found = inference.mistakes
    chosen = browsing.selected(found, 1, None)
    assert set(chosen.true) == {1} and len(chosen) == (found.true == 1).sum()
    assert (np.diff(chosen.predicted_probability) <= 0).all()
    said, cards = browsing.shown(inference, None, None, browsing.OFF, 1)
    assert f"{len(found)} wrong images: 25 to {len(found)}" in said
    assert cards.count('class="card"') == len(found) - 24
    assert not [name for name in CLASSES if name in said + cards]
    inference.close()


def test_names_are_text() -> None:
    assert parts.text("<b>{{x}} ${y} `") == "&lt;b&gt;&#123;&#123;x&#125;&#125; &#36;&#123;y&#125; &#96;"
    assert len(parts.text("x" * 500)) == 80
    assert "&lt;b&gt;" in parts.problem("<b> is wrong") and "<b>" not in parts.problem("<b> is wrong")


def test_the_colours_are_the_reports() -> None:
    page = (Path(looks.__file__).parents[1] / "reporting/templates/page.css").read_text()
    own = (Path(looks.__file__).parent / "assets/page.css").read_text()
    light, dark = page.split("@media (prefers-color-scheme: dark)")[:2]
    for tokens, there, css in (
        (looks.LIGHT, light, own.partition(".dark")[0]),
        (looks.DARK, dark, own.partition(".dark")[2].partition("}")[0]),
    ):
        for name, value in tokens.items():
            assert f"--{name}: {value};" in there and f"--{name}: {value};" in css


@pytest.mark.parametrize(
    ("host", "ours", "not_ours"),
    [
        (
            "127.0.0.1",
            ["127.0.0.1:80", "localhost:80", "LOCALHOST", "[::1]"],
            ["evil.example", "127.0.0.1:81", "1.2.3.4"],
        ),
        ("0.0.0.0", ["1.2.3.4:80", "[fe80::1]", socket.gethostname()], ["evil.example", "1.2.3.4.evil.example", ""]),
        ("192.0.2.7", ["192.0.2.7"], ["localhost", "192.0.2.8", "192.0.2.7:x", "192.0.2.7:80:80", "@192.0.2.7"]),
    ],
)
def test_which_hosts_are_ours(host: str, ours: list[str], not_ours: list[str]) -> None:
    is_ours = host_check(host, 80)
    assert [name for name in ours if not is_ours(name)] == [] and [name for name in not_ours if is_ours(name)] == []


def test_addresses() -> None:
    assert url_of("0.0.0.0", 7860) == "http://127.0.0.1:7860" and url_of("::1", 1) == "http://[::1]:1"
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 is taken; --port"):
            listen("127.0.0.1", port)
    for host, port, said in (
        ("192.0.2.7", 0, "cannot be listened on"),
        ("not a host", 0, "is no address"),
        ("127.0.0.1", 65_536, "outside 0 to 65535"),
    ):
        with pytest.raises(UserError, match=said):
            listen(host, port)


def test_what_cannot_be_served_is_one_line(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no such folder" in refused(capsys, "serve", str(tmp_path / "none"))
    unfinished = Run.create(tmp_path / "unfinished", run.recipe, {})
    assert "no training has begun here" in refused(capsys, "serve", str(unfinished.path))
    assert "--device 'abacus'" in refused(capsys, "serve", str(run.path), "--device", "abacus")
    monkeypatch.setattr(starting, "find_spec", lambda name: None)
    assert "pip install 'onecycle[serve]'" in refused(capsys, "serve", str(run.path))
