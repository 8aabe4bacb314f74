"""`find` in a recipe, and `onecycle.find_lr`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import assert_same_run, dataset, files, net, small_recipe

import onecycle
from onecycle import UserError, lr_range, optim, registry

QUICK: dict[str, Any] = {"sweeps": 2, "steps": 40, "lr_start": 1e-4, "lr_end": 1.0}
FIND: dict[str, Any] = {"schedule.lr_min": "find", "schedule.lr_max": "find"}


def found_by(**options: Any) -> onecycle.lr_range.LrRange:
    return onecycle.find_lr(small_recipe(), model=net(), data=dataset(), **{**QUICK, **options})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two short sweeps where a training finds its rates."""
    find = lr_range.find
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: find(*args, **{**options, **QUICK}))


def test_each_sweep_has_a_seed_and_a_range_of_its_own() -> None:
    found = found_by(sweeps=3)
    assert [one.seed for one in found.sweeps] == [0, 1, 2]
    assert [one.lrs[0] for one in found.sweeps] == pytest.approx([1e-4, 1e-4 / 10**0.5, 1e-4 * 10**0.5])
    assert found.lr_min < found.lr_max
    assert found.lr_min > 1e-4 and found.lr_max < 1.0


def test_what_makes_a_choice_doubtful_is_said_to_the_observer(monkeypatch: pytest.MonkeyPatch) -> None:
    results = Path(__file__).parents[1] / "benchmarks" / "results"
    [stored] = results.glob("lr_range_custom_resnet_recipe_*.json")
    doubtful = lr_range.LrRange.from_dict(json.loads(stored.read_text()))
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: doubtful)
    told: list[str] = []

    class Told(onecycle.Observer):
        def on_message(self, text: str) -> None:
            told.append(text)

    found = found_by(observer=Told())
    [line] = told
    assert line.startswith("warning: lr_min is unstable, the sweeps choose 1.2e-05, 5.2e-06, 3.5e-05")
    assert repr(found) == "LrRange(lr_min=1.17e-05, lr_max=0.00239, 3 sweeps)"


def test_a_net_that_cannot_be_copied_is_one_line() -> None:
    model = net()
    model.held = next(model.parameters()) * 1  # type: ignore[assignment]  # no leaf of the graph
    with pytest.raises(UserError, match="the net Sequential cannot be copied for the sweep"):
        onecycle.find_lr(small_recipe(), model=model, data=dataset(), **QUICK)


def test_the_optimiser_steps_in_the_recipes_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, step = [], optim.Muon.step

    def watched(self: optim.Muon, closure: Any = None) -> Any:
        seen.append(torch.is_autocast_enabled("cpu"))
        return step(self, closure)

    monkeypatch.setattr(optim.Muon, "step", watched)
    for precision in ("bf16", "fp32"):
        found_by(**{"optimizer.name": "muon", "precision": precision, "sweeps": 1})
    assert seen and sorted(set(seen)) == [False, True] and seen == sorted(seen, reverse=True)


def test_a_recipe_whose_momentum_cycles_is_swept_at_the_optimisers_own() -> None:
    sgd = {"optimizer.name": "sgd", "optimizer.momentum": 0.9}
    assert found_by(**sgd, **{"schedule.momentum": [0.5, 0.6]}) == found_by(**sgd)


@pytest.mark.parametrize("resize", [[[0, 16], [2, 24]], [[0, 24], [1, 16]], [[0, 24], [1, 16], [2, 24]]])
def test_the_images_of_a_sweep_have_one_size_that_of_the_highest_rate(resize: list[list[int]]) -> None:
    sides: set[int] = set()

    class Seeing(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if torch.is_grad_enabled():  # rather than in a rehearsal
                sides.add(images.shape[-1])
            logits: torch.Tensor = self.net(images)
            return logits

    wanted = small_recipe(**{"augment.resize": resize, "schedule.epochs": 3, "schedule.peak_epoch": 1.5})
    onecycle.find_lr(wanted, model=Seeing(), data=dataset(), **{**QUICK, "sweeps": 1})
    assert sides == {16}


def test_the_same_is_found_again() -> None:
    assert found_by() == found_by()
    assert found_by().sweeps != found_by(seed=5).sweeps


def test_the_net_handed_in_is_left_as_it_was() -> None:
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    onecycle.find_lr(small_recipe(), model=model, data=dataset(), **QUICK)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def test_the_result_is_kept_and_its_recipe_trains(tmp_path: Path, drawn: None) -> None:
    found = found_by(out=tmp_path / "found")
    assert files(tmp_path / "found") == {"environment.json", "lr_range.json", "plots/lr_range.png", "recipe.yaml"}
    stored = onecycle.load(tmp_path / "found").lr_range
    assert stored == json.loads(json.dumps(found.to_dict()))
    assert {"lr_min", "lr_max", "rule", "stability"} <= stored.keys()
    options = onecycle.load(tmp_path / "found").recipe.schedule.options
    assert (options["lr_min"], options["lr_max"]) == (found.lr_min, found.lr_max)
    with pytest.raises(UserError, match=r"exists.*; name a new folder"):
        found_by(out=tmp_path / "found")


def test_the_folder_knows_where_images_and_weights_are(tmp_path: Path, drawn: None) -> None:
    """So that the training that it offers begins."""
    earlier = onecycle.train(small_recipe(), model=net(), data=dataset(), out=tmp_path / "earlier", report=False)
    changes: dict[str, Any] = {"init": earlier, "data_dir": tmp_path, "lr_start": 1e-4}
    onecycle.find_lr(small_recipe(), model=net(), data=dataset(), out=tmp_path / "found", **QUICK | changes)
    assert onecycle.load(tmp_path / "found").environment["data_dir"] == str(tmp_path)
    run = onecycle.resume(tmp_path / "found", model=net(), data=dataset(), report=False)
    assert run.environment["init"]["run"] == str(earlier.path) and run.finished


def test_a_fixed_end_above_what_is_found_is_refused_and_the_sweeps_are_kept(tmp_path: Path, drawn: None) -> None:
    where = rf"with the rates that were found.*lr_final.*kept in {tmp_path}/found/lr_range\.json"
    with pytest.raises(UserError, match=where):
        found_by(out=tmp_path / "found", **{"schedule.lr_max": 0.9, "schedule.lr_final": 0.8})
    assert files(tmp_path / "found") == {"environment.json", "lr_range.json", "plots/lr_range.png"}


class Heard(onecycle.Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, text: str) -> None:
        self.lines.append(text)


def down(steps_per_epoch: int, *, epochs: int, lr_max: float) -> Any:
    return lambda step: lr_max


def of_its_own(steps_per_epoch: int, *, epochs: int, rate: float, lr_min: float = 0.5) -> Any:
    return lambda step: rate


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (
            {"name": "constant", "lr": 0.1},
            "schedule.lr, 0.1, should be below the {lowest} of the rule minimum, {tenth}",
        ),
        (
            {"name": "plateau", "lr": 1e-4},
            "schedule.lr, 0.0001, should be below the {lowest} of the rule minimum, {tenth}",
        ),
        (
            {"name": "piecewise_linear", "knots": [[0, 0], [1, 0.4]]},
            "the highest of schedule.knots, 0.4, should be at most the {lowest} of the rule minimum",
        ),
        ({"name": "of_its_own", "rate": 0.1}, ""),
    ],
)
def test_a_schedule_without_both_ends_keeps_its_rates_and_a_line_says_so(
    schedule: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: None
) -> None:
    monkeypatch.setitem(registry.ENTRIES["schedule"], "of_its_own", "test_find_lr:of_its_own")
    wanted, heard = small_recipe(schedule={"epochs": 2, **schedule}), Heard()
    options = {**QUICK, "model": net(), "data": dataset(), "rule": "slowing", "observer": heard}
    found = onecycle.find_lr(wanted, out=tmp_path / "found", **options)
    assert onecycle.load(tmp_path / "found").recipe.schedule == wanted.schedule
    lowest, tenth = (np.exp(np.median(np.log(found.suggestions[rule]))) for rule in ("minimum", "minimum/10"))
    line = f"the recipe keeps its own rates, as the schedule {schedule['name']} has not both ends of a cycle"
    beside = said.format(lowest=f"{lowest:.3g}", tenth=f"the rule minimum/10 chooses schedule.lr={tenth:.3g}")
    assert [one for one in heard.lines if not one.startswith("warning")] == [
        f"{line}, lr_min and lr_max{'; ' if said else ''}{beside}"
    ]


def test_a_schedule_with_the_upper_end_takes_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: None
) -> None:
    monkeypatch.setitem(registry.ENTRIES["schedule"], "down", "test_find_lr:down")
    wanted, heard = small_recipe(schedule={"name": "down", "epochs": 2, "lr_max": 0.3}), Heard()
    found = onecycle.find_lr(wanted, model=net(), data=dataset(), out=tmp_path / "found", observer=heard, **QUICK)
    assert onecycle.load(tmp_path / "found").recipe.schedule.options["lr_max"] == found.lr_max
    assert "of what was found the recipe takes lr_max alone, as the schedule down has no lr_min" in heard.lines


def test_of_a_schedule_with_both_ends_nothing_is_left_over() -> None:
    heard = Heard()
    found_by(observer=heard)
    assert all(line.startswith("warning") for line in heard.lines)


def test_a_recipe_that_says_find_sweeps_first_and_stores_the_numbers(tmp_path: Path, quick: None, drawn: None) -> None:
    class Listener(onecycle.Observer):
        def on_message(self, text: str) -> None:
            heard.append(text)

    wanted, heard = small_recipe(**FIND), list[str]()
    run = onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=Listener())
    stored = json.loads((run.path / "lr_range.json").read_text())
    options = run.recipe.schedule.options
    assert (options["lr_min"], options["lr_max"]) == (stored["lr_min"], stored["lr_max"])
    assert max(row["lr"] for row in run.steps()) == pytest.approx(stored["lr_max"])
    said = f"lr_min {stored['lr_min']:.3g}, lr_max {stored['lr_max']:.3g} found by the rule minimum ("
    assert any(line.startswith(said) for line in heard)
    assert (run.plots / "lr_range.png").exists()
    quiet = onecycle.Observer()
    again = onecycle.train(
        run.recipe, model=net(), data=dataset(), out=tmp_path / "again", observer=quiet, report=False
    )
    assert_same_run(run, again)  # the stored recipe alone gives the same run
    assert not (again.path / "lr_range.json").exists()


def test_one_end_can_be_given(tmp_path: Path, quick: None) -> None:
    wanted = small_recipe(**{"schedule.lr_min": 1e-6, "schedule.lr_max": "find"})
    run = onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=onecycle.Observer())
    assert run.recipe.schedule.options["lr_min"] == 1e-6
    assert isinstance(run.recipe.schedule.options["lr_max"], float)


@pytest.mark.parametrize("fixed", [{"lr_min": 5.0, "lr_max": "find"}, {"lr_min": "find", "lr_max": 1e-7}])
def test_an_end_that_contradicts_what_is_found_is_refused_and_the_sweeps_are_kept(
    fixed: dict[str, Any], tmp_path: Path, quick: None, drawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = small_recipe(**{f"schedule.{key}": value for key, value in fixed.items()})
    given: dict[str, Any] = {"model": net(), "data": dataset(), "observer": onecycle.Observer(), "report": False}
    for out, kept in ((Path("run"), "run_find-lr"), (Path("run"), "run_find-lr_2"), (None, r"runs/.*_find-lr")):
        said = rf"with the rates that were found: schedule\.lr_max .* is below lr_min.* kept in {kept}/lr_range\.json"
        with pytest.raises(UserError, match=said):
            onecycle.train(wanted, out=out, **given)
    assert not Path("run").exists()
    assert files(Path("run_find-lr")) == {"environment.json", "lr_range.json", "plots/lr_range.png"}
    found = lr_range.LrRange.from_dict(json.loads(Path("run_find-lr/lr_range.json").read_text()))
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: pytest.fail("what is kept is found again"))
    rates = {"schedule.lr_min": found.lr_min, "schedule.lr_max": found.lr_max}
    assert onecycle.train(wanted, out="run", **rates, **given).finished


def test_the_folder_is_looked_at_before_the_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: pytest.fail("swept in vain"))
    with pytest.raises(UserError, match=r"exists.*; name a new folder"):
        onecycle.train(small_recipe(**FIND), model=net(), data=dataset(), out=tmp_path)
    with pytest.raises(UserError, match=r"exists.*; name a new folder"):
        found_by(out=tmp_path)
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "run", Path("/proc/nowhere/run")):
        with pytest.raises(UserError, match=f"{place}: cannot be written"):
            onecycle.train(small_recipe(**FIND), model=net(), data=dataset(), out=place)
        with pytest.raises(UserError, match=f"{place}: cannot be written"):
            found_by(out=place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_resumed_run_keeps_what_was_found(tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = small_recipe(**FIND)
    run = onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=onecycle.Observer())
    before = run.recipe
    monkeypatch.setattr(lr_range, "find", lambda *args, **options: pytest.fail("a resumed run sweeps"))
    again = onecycle.resume(run.path, name=wanted, model=net(), data=dataset())
    assert again.recipe == before
    rate = before.schedule.options["lr_max"]
    for changes in ({"schedule.lr_max": "find"}, {"schedule": {"lr_max": "find"}}):
        with pytest.raises(UserError, match=f"lr_max find: a resumed run has begun with {rate}; name a number"):
            onecycle.resume(run.path, changes=changes, model=net(), data=dataset())


class Stops(onecycle.Observer):
    """Sends this process a signal after the first epoch."""

    def on_epoch(self, row: Mapping[str, float | None], seconds_left: float) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_resumed_run_s_rates_are_held_against_each_other_before_it_trains(tmp_path: Path, quick: None) -> None:
    wanted = small_recipe(**FIND)
    quiet = onecycle.Observer()
    with pytest.raises(onecycle.Stopped):
        onecycle.train(wanted, model=net(), data=dataset(), out=tmp_path / "run", observer=Stops())
    for name in (None, wanted):
        with pytest.raises(UserError, match=r"schedule\.lr_max 1e-09 is below lr_min"):
            changes = {"schedule.lr_max": 1e-9}
            onecycle.resume(tmp_path / "run", name=name, changes=changes, model=net(), data=dataset(), observer=quiet)
    assert onecycle.resume(tmp_path / "run", model=net(), data=dataset(), report=False, observer=quiet).finished


@pytest.mark.parametrize("schedule", ["one_cycle", "cyclic"])
def test_find_is_checked_with_the_rest(schedule: str) -> None:
    recipe = onecycle.recipe("custom_resnet", schedule={"name": schedule, "lr_min": "find", "lr_max": "find"})
    assert onecycle.recipe(recipe).schedule.options["lr_max"] == "find"
    with pytest.raises(UserError, match=r"schedule\.epochs -1 is below 1"):
        onecycle.recipe(recipe, **{"schedule.epochs": -1})
    with pytest.raises(UserError, match=r"schedule\.lr_max 'found': must be a number or find"):
        onecycle.recipe(recipe, **{"schedule.lr_max": "found"})
    build = registry.load("schedule", schedule)
    with pytest.raises(UserError, match=r"schedule\.lr_min is still to be found"):
        build(10, **recipe.schedule.options)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"name": "constant", "lr": "find"}, "lr 'find': must be a valid number"),
        ({"name": "plateau", "lr": 0.1, "lr_min": "find"}, "lr_min 'find': must be a valid number"),
        ({"name": "piecewise_linear", "knots": [[0, "find"]]}, "knots 'find': must be a valid number"),
    ],
)
def test_a_schedule_without_both_ends_cannot_find(schedule: dict[str, Any], said: str) -> None:
    alone = f"find is for lr_min and lr_max of a cycle alone, onecycle find-lr says what suits {schedule['name']}"
    with pytest.raises(UserError, match=rf"schedule\.{said}.*; {alone}$"):
        onecycle.recipe("custom_resnet", schedule={"epochs": 2, **schedule})


def test_a_rate_that_is_yet_to_be_found_is_no_floor_of_plateau() -> None:
    changed = onecycle.recipe("era_s10_package", **{"schedule.name": "plateau", "schedule.lr": 0.1})
    assert changed.schedule.options["lr_min"] == 0


@pytest.mark.parametrize("sweeps", [0, 101])
def test_too_few_or_too_many_sweeps_are_refused(sweeps: int) -> None:
    with pytest.raises(UserError, match=f"{sweeps} sweeps are asked for; 1 to 100 are possible"):
        found_by(sweeps=sweeps)
