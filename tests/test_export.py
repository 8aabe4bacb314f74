"""Exported files: what they compute, what they say of themselves, and that they are tried before they are kept."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from small import dataset, net, small_recipe
from test_cli import call, refused
from torch import Tensor, nn

import onecycle
from onecycle import Dataset, ImageSet, Observer, Run, UserError, registry
from onecycle.cli import main as command_line
from onecycle.data.folder import decode_file
from onecycle.exporting import Deployed, Verification, exporting, onnx_file, open_onnx, torch_files
from onecycle.exporting.deployed import traced
from onecycle.exporting.description import public
from onecycle.models import compact, custom_resnet
from onecycle.models.whitened_convnet import whitened_convnet

CLASSES = ("cat | dog", "<i>bird</i>", "été", "ship")


def data() -> Dataset:
    train, test = (ImageSet(one.images_nhwc, one.labels, CLASSES) for one in dataset())
    return Dataset(train, test)


def tiny(num_classes: int) -> nn.Module:
    """The small net by a name, so that the command line can build it."""
    assert num_classes == len(CLASSES)
    return net()


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.ENTRIES["model"], "tiny", f"{__name__}:tiny")
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was trained in bfloat16, on images that were handed in."""
    out = tmp_path_factory.mktemp("trained") / "run"
    changes = {"model": {"name": "tiny"}, "precision": "bf16", "schedule.epochs": 1, "schedule.peak_epoch": 0.5}
    return onecycle.train(small_recipe(**changes), data=data(), out=out, observer=Observer())


@pytest.fixture(scope="module")
def exported(run: Run) -> onecycle.Export:
    return run.export(data=data())


def float32_logits(run: Run, images: ImageSet) -> np.ndarray:
    """As the definition has it, with nothing of the exporter."""
    own = net().eval()
    own.load_state_dict(run.weights())
    mean, std = (torch.tensor(one) for one in run.recipe.data.statistics)
    pixels = torch.from_numpy(images.images_nhwc).double() / 255
    with torch.no_grad():
        return own(((pixels - mean) / std).float().permute(0, 3, 1, 2)).numpy()


class SideBySide(nn.Module):
    """The logits of several nets in a row, so that one export tries them all."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([one(images) for one in self.nets], dim=1)


def every_net() -> SideBySide:
    """Each net, each kind of layer that options bring, with norms that are not as they begin."""
    torch.manual_seed(0)
    nets = [
        custom_resnet(4, block_dropout=0.1, logit_scale=0.125, log_softmax=True),
        custom_resnet(4, order="conv-pool-relu-norm", norm="group", stage_dropout=0.1, linear_bias=False),
        compact(4),
        whitened_convnet(4, widths=(8, 8, 8)),
        net(),
    ]
    for module in (one for each in nets for one in each.modules()):
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias.data, module.weight.data):
                tensor.uniform_(-1, 1)  # a scale may be negative
            module.running_var.uniform_(0.5, 2)
    return SideBySide(nets)


def test_every_net_gives_its_own_logits_as_onnx_and_as_pt2(tmp_path: Path) -> None:
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
    nets = every_net()
    deployed = Deployed(nets, mean=mean, std=std)
    program = traced(deployed, 40)
    onnx_file.write_onnx(tmp_path / "nets.onnx", program, {"exported_with": {"onecycle": "0"}})
    torch_files.write_pt2(tmp_path / "nets.pt2", program, {})
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    normalized = (torch.from_numpy(pixels).double() / 255 - torch.tensor(mean)) / torch.tensor(std)
    with torch.no_grad():
        expected = nets.eval()(normalized.float().permute(0, 3, 1, 2)).numpy()
    assert expected.shape == (3, 20) and expected.std() > 0.1
    for opened in (open_onnx(tmp_path / "nets.onnx"), torch_files.open_pt2(tmp_path / "nets.pt2")):
        for count in (1, 3):
            np.testing.assert_allclose(opened(pixels[:count]), expected[:count], atol=1e-4)


def test_the_onnx_stands_by_itself(run: Run, exported: onecycle.Export) -> None:
    """Used as somebody would who has no onecycle."""
    assert exported.path == run.path / "export" / "model.onnx" and exported.size == exported.path.stat().st_size
    session = onnxruntime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    [takes], [gives] = session.get_inputs(), session.get_outputs()
    assert (takes.name, takes.type, takes.shape[1:]) == ("images", "tensor(uint8)", [32, 32, 3])
    assert (gives.name, gives.type, gives.shape[1:]) == ("logits", "tensor(float)", [4])
    test = data().test
    logits = session.run(None, {"images": test.images_nhwc})[0]
    expected = float32_logits(run, test)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    np.testing.assert_allclose(logits, run.predict(test).logits, atol=0.1)  # bfloat16
    stated = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(stated["classes"])) == CLASSES
    assert json.loads(stated["mean"]) == list(run.recipe.data.statistics[0])
    assert json.loads(stated["image_size"]) == 32
    assert json.loads(stated["recipe"]) == run.recipe.model_dump(mode="json")
    assert len(stated["weights_sha256"]) == 64
    found = exported.verification
    assert (found.kind, found.images) == ("test", 60) and found.largest_difference < 1e-4
    assert found.accuracy == pytest.approx((expected.argmax(1) == test.labels).mean())
    onnx.checker.check_model(str(exported.path), full_check=True)


def snippet_of(card: Path) -> str:
    [code] = re.findall(r"```python\n(.*?)```", card.read_text(), re.S)
    return code


def said_by(code: str, folder: Path) -> str:
    """What a model card's code prints where it runs in that folder."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "card", "exec"), {})
    return said.getvalue()


def test_the_code_on_the_card_runs(run: Run, exported: onecycle.Export) -> None:
    folder = exported.path.parent
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8))
    picture.save(folder / "photo.jpg", "PNG")
    said = said_by(snippet_of(exported.card), folder).splitlines()
    [expected] = run.predict(folder / "photo.jpg").top(3)
    assert [line.rpartition(": ")[0] for line in said] == [one.name for one in expected]
    for line, one in zip(said, expected, strict=True):
        assert float(line.rpartition(": ")[2][:-1]) == pytest.approx(100 * one.probability, abs=1)


def deep(folder: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "photo.jpg", "PNG")


def transparent(folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    pixels[:32, :, 3] = 0
    Image.fromarray(pixels).save(folder / "photo.jpg", "PNG")


@pytest.mark.parametrize("write", [deep, transparent])
def test_the_code_on_the_card_sees_what_predict_sees(
    write: Callable[[Path], None], run: Run, exported: onecycle.Export
) -> None:
    folder = exported.path.parent
    write(folder)
    code = snippet_of(exported.card).replace("session.run", "print(images.tobytes().hex()) or session.run")
    seen = bytes.fromhex(said_by(code, folder).splitlines()[0])
    expected = decode_file(folder / "photo.jpg", side=run.recipe.data.image_size, fit="crop")
    assert (
        np.abs(np.frombuffer(seen, np.uint8).astype(int) - expected.ravel()).max() <= 5
    )  # the order of laying over white and scaling


def test_the_runs_own_files_are_not_written_over(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}
    for name in ("model.safetensors", "predictions.npz", "recipe.yaml"):
        with pytest.raises(
            UserError, match=f"{name}: is a file of the run .*; name another place, such as .*export/{name}"
        ):
            run.export(form="safetensors", model=net(), data=data(), out=run.path / name)
    photo = run.path.parent / "photo.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(photo)
    with pytest.raises(SystemExit) as left:
        command_line(["predict", str(run.path), str(photo), "--out", str(run.path / "summary.json")])
    assert left.value.code == 2 and "is a file of the run" in capsys.readouterr().err
    assert before == {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def test_the_card_has_the_results(run: Run, exported: onecycle.Export) -> None:
    card = exported.card.read_text()
    found = run.evaluate()
    low, high = found.interval
    assert f"**{found.accuracy:.2%}** of 60 test images" in card and f"{100 * low:.2f} to {100 * high:.2f}" in card
    assert "| cat \\| dog | 15 |" in card and "\\<i\\>bird\\</i\\>" in card and "<i>" not in card.split("```")[0]
    assert "| images | training | test |" in card and "| all | 200 | 60 |" in card
    assert run.recipe.to_yaml() in card and "seed 0" in card and run.summary["device"] in card
    assert "Licence" in card and "8 bits" not in card


def test_int8_is_measured_beside_float32(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = run.export(int8=True, data=data())
    assert found.path.name == "model_int8.onnx"
    model = onnx.load(str(found.path))
    [cast] = [node for node in model.graph.node if node.op_type == "Cast"]
    assert [node.op_type for node in model.graph.node if cast.output[0] in node.input] == ["Mul"]  # as it is
    weights = [one for one in model.graph.initializer if one.data_type == onnx.TensorProto.INT8]
    assert {tuple(one.dims) for one in weights} >= {(8, 3, 3, 3), (8, 8, 3, 3)}
    session = onnxruntime.InferenceSession(str(found.path), providers=["CPUExecutionProvider"])
    test = data().test
    logits = session.run(None, {"images": test.images_nhwc})[0]
    exact = float32_logits(run, test)
    assert 1e-4 < np.abs(logits - exact).max() < 0.5
    accuracies = [float((one.argmax(1) == test.labels).mean()) for one in (logits, exact)]
    assert [found.verification.accuracy, found.verification.accuracy_float32] == pytest.approx(accuracies)
    stated = json.loads(session.get_modelmeta().custom_metadata_map["int8"])
    assert [stated["accuracy"], stated["accuracy_float32"]] == pytest.approx(accuracies)
    assert stated["calibration_images"] == 200
    assert "the net in float32:" in found.in_words()
    card = found.card.read_text()
    assert (
        f"| the net in float32 | {accuracies[1]:.2%} |" in card and f"| this file, int8 | {accuracies[0]:.2%} |" in card
    )
    said = capsys.readouterr()
    assert said.out == "" and all("verification" in line for line in said.err.splitlines())


def test_pt2_and_safetensors_can_be_read_without_onecycle(run: Run, tmp_path: Path) -> None:
    as_pt2 = run.export(form="pt2", model=net(), data=data(), out=tmp_path / "one" / "net.pt2")
    extra = {"onecycle.json": ""}
    program = torch.export.load(as_pt2.path, extra_files=extra)
    test = data().test
    with torch.no_grad():
        logits = program.module()(torch.from_numpy(test.images_nhwc)).numpy()
    np.testing.assert_allclose(logits, float32_logits(run, test), atol=1e-4)
    assert tuple(json.loads(extra["onecycle.json"])["classes"]) == CLASSES
    Image.fromarray(test.images_nhwc[0]).save(tmp_path / "one" / "photo.jpg", "PNG")
    label = float32_logits(run, test)[0].argmax()
    assert said_by(snippet_of(as_pt2.card), tmp_path / "one").startswith(f"{CLASSES[label]}: ")

    as_weights = run.export(form="safetensors", model=net(), out=tmp_path / "two" / "net.safetensors")
    with safe_open(as_weights.path, framework="pt") as file:
        assert set(file.keys()) == set(net().state_dict())
        for name, value in run.weights().items():
            torch.testing.assert_close(file.get_tensor(name), value, rtol=0, atol=0)
        assert json.loads(file.metadata()["std"]) == list(run.recipe.data.statistics[1])
    assert said_by(snippet_of(as_weights.card), tmp_path / "two") == "14 tensors, 4 classes\n"
    assert as_weights.verification.kind == "random" and as_weights.verification.accuracy is None
    assert "on 64 random images, as the test images are not at hand" in as_weights.in_words()
    assert "The images were not at hand" in as_weights.card.read_text()


def spoilt(write: Callable[..., None]) -> Callable[..., None]:
    """The same of a net whose last layer is a little off."""

    def writing(path: Path, deployed: Deployed, description: object) -> None:
        off = Deployed(net(), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
        off.net.load_state_dict(deployed.net.state_dict())
        off.net[-1].bias += 0.01
        write(path, off, description)

    return writing


def test_a_file_that_does_not_agree_is_not_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "write_safetensors", spoilt(torch_files.write_safetensors))
    out = tmp_path / "net.safetensors"
    with pytest.raises(UserError, match=r"not written, as its logits differ .* by up to 0\.01 on 60 test images"):
        run.export(form="safetensors", model=net(), data=data(), out=out)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "net.safetensors"
    with pytest.raises(UserError, match=r"net\.pt2: is to be written as onnx; net\.onnx, or --format pt2"):
        run.export(out=tmp_path / "net.pt2", data=data())
    with pytest.raises(UserError, match="format 'onx' is not allowed; did you mean 'onnx'"):
        run.export(form="onx")
    with pytest.raises(UserError, match="int8 goes with the format onnx alone"):
        run.export(form="pt2", int8=True, data=data())
    with pytest.raises(UserError, match="was handed in from Python"):
        run.export(int8=True)
    with pytest.raises(UserError, match="the weights are of another net"):
        run.export(form="safetensors", model=nn.Linear(2, 2), data=data())
    (tmp_path / "MODEL_CARD.md").write_text("# of somebody else\n")
    with pytest.raises(UserError, match=r"MODEL_CARD\.md: exists, and is not of onecycle export"):
        run.export(form="safetensors", model=net(), data=data(), out=out)
    assert (tmp_path / "MODEL_CARD.md").read_text() == "# of somebody else\n" and not out.exists()
    with pytest.raises(UserError, match=r"model_card\.md: is the name of the model card"):
        run.export(form="safetensors", data=data(), out=tmp_path / "new/model_card.md")
    with pytest.raises(UserError, match="is a folder; name a file"):
        run.export(form="safetensors", data=data(), out=tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        run.export(form="safetensors", model=net(), data=data(), out=tmp_path / "new" / ("x" * 300))
    with pytest.raises(UserError, match="/dev/null: is no regular file"):
        run.export(form="safetensors", data=data(), out="/dev/null")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"ONNX needs the extra export .*; pip install 'onecycle\[export\]'"):
        run.export(data=data())


def test_a_net_that_depends_on_what_it_sees_cannot_be_traced(capfd: pytest.CaptureFixture[str]) -> None:
    class Moody(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) * (2 if images.mean() > 0 else 1)

    with pytest.raises(UserError, match=r"the net Moody cannot be traced by torch\.export"):
        traced(Deployed(Moody(), mean=(0, 0, 0), std=(1, 1, 1)), 32)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fault", ["predictions", "tracing"])
def test_what_fails_leaves_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def refuse(*_: object) -> None:
        raise UserError("cannot be traced")

    own = Run.open(shutil.copytree(run.path, tmp_path / "own", ignore=shutil.ignore_patterns("export")))
    if fault == "predictions":
        (own.path / "predictions.npz").unlink()
    else:
        monkeypatch.setattr(exporting, "traced", refuse)
    with pytest.raises(UserError, match=rf"{fault}\.npz|cannot be traced"):
        own.export(data=data(), out=tmp_path / "new/deep/net.onnx")
    with pytest.raises(UserError, match=rf"{fault}\.npz|cannot be traced"):
        own.export(data=data())
    assert [path.name for path in tmp_path.iterdir()] == ["own"] and not (own.path / "export").exists()


def test_the_recipe_that_is_passed_on_has_no_paths_of_this_machine() -> None:
    wanted = onecycle.recipe("digits", data={"name": "/home/me/photos"}, init="/home/me/runs/first")
    shown = public(wanted)
    assert (shown.data.name, shown.init) == ("photos", "first")
    assert public(onecycle.recipe("digits")) == onecycle.recipe("digits")


def test_an_operation_that_onnx_has_not_is_one_line(tmp_path: Path) -> None:
    class Bessel(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.special.bessel_j0(images).mean((2, 3))

    program = traced(Deployed(Bessel(), mean=(0, 0, 0), std=(1, 1, 1)), 32)
    with pytest.raises(UserError, match=r"cannot write this net as ONNX \(No ONNX function found .*bessel_j0") as error:
        onnx_file.write_onnx(tmp_path / "net.onnx", program, {})
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_large_logits_may_differ_in_proportion() -> None:
    found = Verification("test", 9, 5e-4, 4.0, 1.0, 1.0, 1.0)
    assert not found.agrees
    assert Verification("test", 9, 5e-4, 60.0, 1.0, 1.0, 1.0).agrees
    assert not Verification("test", 9, float("inf"), 60.0, 1.0, 1.0, 1.0).agrees


def test_the_command_says_what_it_wrote_and_how_it_was_tried(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(run.path)
    capsys.readouterr()
    assert call("export", place, "--format", "safetensors") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"wrote {place}/export/model.safetensors (") and said[0].endswith("MODEL_CARD.md")
    assert said[1].startswith("largest difference from the net's float32 logits: 0, on 64 random images")
    assert call("export", place, "--format", "safetensors", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["verification"]["largest_difference"] == 0 and document["int8"] is False
    assert Path(document["path"]).exists() and Path(document["card"]).exists()
    assert "own:images" in refused(capsys, "export", place, "--int8")
