"""Published trainings that the benchmarks of speed run beside ours: ported, held to their version, counted."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small
import torch
from speed_benchmarks import AIRBENCH, CPU, PEER, conv_gflop, run, script, table

import onecycle

pytest_plugins = ["speed_fixtures"]
pytestmark = pytest.mark.usefixtures("modules_forgotten")


def peer(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Any:
    limits = {"epochs": 1, "batch": 40, **options}
    return script("measuring.airbench", monkeypatch).Peer("airbench94_muon", folder, small.dataset(), CPU, **limits)


def test_a_peer_is_ported_to_the_processor(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", own := ModuleType("torchvision"))
    theirs = peer(folder, monkeypatch)
    module = sys.modules["airbench94_muon"]

    first, again, other = theirs.train(0), theirs.train(0), theirs.train(1)

    assert first.accuracy == again.accuracy
    assert other.seed == 1
    assert 0 <= first.accuracy <= 1
    assert first.accuracy_tta == first.accuracy / 2
    assert first.train_seconds > 0
    assert first.tta_seconds == pytest.approx(0.25)
    assert first.seconds == pytest.approx(first.train_seconds + 0.25)
    [net] = theirs._nets
    assert {one.dtype for one in net.parameters()} == {torch.float32}
    products = torch.float32 if theirs.precision == "fp32" else torch.bfloat16
    assert {dtype for dtype, _ in module.forwarded} == {products}
    assert net.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert sys.modules["torchvision"] is own
    assert "torchvision.transforms" not in sys.modules
    assert not torch.backends.cudnn.benchmark
    assert not Path("cifar10").exists()


def test_a_peer_sees_the_images_that_it_is_given(folder, monkeypatch):
    theirs = peer(folder, monkeypatch)
    seen = []
    read = sys.modules["airbench94_muon"].Images
    monkeypatch.setattr(sys.modules["airbench94_muon"], "Images", lambda part: seen.append(read(part)) or seen[-1])

    theirs.train(0)

    for images, expected in zip(seen, small.dataset(), strict=True):
        pixels = (expected.images_nhwc.transpose(0, 3, 1, 2) / 255 - 0.5) / 0.25
        np.testing.assert_allclose(images.images.numpy(), pixels, atol=1e-6)
        assert images.labels.tolist() == expected.labels.tolist()


def test_a_peers_flop_are_counted_on_its_net(folder, monkeypatch):
    theirs = peer(folder, monkeypatch, epochs=3)  # of five steps each, of 40 images

    step = 40 * (conv_gflop(3, 4, 2, 31, passes=1) + conv_gflop(4, 8, 3, 29, passes=2) + 3 * 2 * 8 * 10 / 1e9)
    newton_schulz = 3 * (2 * 2 * 8**2 * 36 + 2 * 8**3) / 1e9  # of one filter, 8 x 36
    assert theirs.steps == 15
    # The bias of the frozen conv trains, so that what comes after it needs its input's gradient.
    step += 40 * conv_gflop(4, 8, 3, 29, passes=1)
    assert theirs.pflop() == pytest.approx(15 * (step + newton_schulz) / 1e6)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("mod.half()", "mod.bfloat16()"), "'mod.half()' is there 0 times, not 1"),
        (("        ender.record()", "        torch.cuda.synchronize()"), "'torch.cuda.synchronize()' is there 2 times"),
        (("ceil(8 *", "ceil(9 *"), "'ceil(8 * len(train_loader))' is there 0 times"),
    ],
)
def test_a_peer_of_another_version_is_refused(folder, monkeypatch, change, says):
    path = folder / "airbench94_muon.py"
    path.write_text(PEER.replace(*change))

    with pytest.raises(onecycle.UserError, match="of another version") as refused:
        peer(folder, monkeypatch)

    assert says in str(refused.value)
    assert "f1c599c" in str(refused.value)
    assert str(path) in str(refused.value)


def test_what_a_peer_cannot_do_is_said(folder, tmp_path, monkeypatch):
    airbench = script("measuring.airbench", monkeypatch)
    (folder / "cifar10_speedrun.py").write_text("ceil(7.59 * len(train_loader)) training_batch_size = 1536")

    with pytest.raises(onecycle.UserError, match="runs on CUDA alone, and this is cpu"):
        airbench.Peer("hiverge", folder, small.dataset(), CPU, batch=10)
    with pytest.raises(onecycle.UserError, match="not readable"):
        airbench.Peer("airbench94_muon", tmp_path, small.dataset(), CPU, batch=10)
    with pytest.raises(onecycle.UserError, match="a batch of 2000 is larger than the training set of 200"):
        airbench.Peer("airbench94_muon", folder, small.dataset(), CPU)


def test_the_peers_script_prints_and_keeps_each_seed(folder, tmp_path, monkeypatch, no_cifar, capsys):
    few = ("--seeds", "0,1", "--epochs", "1", "--batch", "40", "--device", "cpu", "--out", tmp_path / "out")
    run("airbench", monkeypatch, folder, *few)

    [path] = (tmp_path / "out").iterdir()
    assert [row["seed"] for row in table(path)] == ["0", "1"]
    assert "seed 1:" in capsys.readouterr().out


@pytest.mark.skipif(AIRBENCH is None, reason="ONECYCLE_AIRBENCH names no checkout of cifar10-airbench")
def test_airbench_itself_is_ported(monkeypatch):
    assert AIRBENCH is not None
    airbench = script("measuring.airbench", monkeypatch)

    result = airbench.Peer("airbench94_muon", Path(AIRBENCH), small.dataset(), CPU, epochs=1, batch=100).train(0)

    assert 0 <= result.accuracy <= 1
    assert result.train_seconds > 0 and result.tta_seconds > 0
    images = SimpleNamespace(train=range(50_000))
    whole = airbench.Peer("airbench94_muon", Path(AIRBENCH), images, CPU)
    assert (whole.steps, whole.pflop()) == (200, pytest.approx(0.29, abs=0.01))  # as its authors give it
