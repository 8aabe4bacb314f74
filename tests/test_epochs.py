"""Which step belongs to which epoch, where epochs differ in length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onecycle.epochs import Epochs
from onecycle.schedule import Schedule, constant, cyclic, one_cycle, piecewise_linear


@st.composite
def lengths_and_whole(draw: st.DrawFn) -> tuple[list[int], int]:
    whole = draw(st.integers(1, 30))
    return draw(st.lists(st.integers(1, whole), min_size=1, max_size=12)), whole


@settings(max_examples=150, deadline=None)
@given(lengths_and_whole())
def test_epochs_of_any_length_are_those_of_a_slow_loop(drawn: tuple[list[int], int]) -> None:
    lengths, whole = drawn
    epochs, step = Epochs(lengths, whole), 0
    for epoch, length in enumerate(lengths):
        assert epochs.start(epoch) == step
        places = np.linspace(0, whole - 1, length) if length > 1 else [whole - 1]  # of a whole epoch
        for place in places:
            assert epochs.scheduled(step) == pytest.approx(epoch * whole + place, rel=1e-12, abs=1e-12)
            step += 1
    assert epochs.steps == epochs.start(len(lengths)) == step
    assert epochs.scheduled(step + 10**6) >= len(lengths) * whole - 1  # beyond the end, as schedules are


@settings(max_examples=50, deadline=None)
@given(epochs=st.integers(1, 20), whole=st.integers(1, 200))
def test_where_all_epochs_are_whole_a_step_is_itself(epochs: int, whole: int) -> None:
    found = [Epochs([whole] * epochs, whole).scheduled(step) for step in range(epochs * whole + 5)]
    assert found == list(range(epochs * whole + 5)) and {type(one) for one in found} == {int}


@settings(max_examples=100, deadline=None)
@given(drawn=lengths_and_whole(), data=st.data())
def test_the_share_that_is_done_is_that_of_a_slow_sum_over_steps(
    drawn: tuple[list[int], int], data: st.DataObject
) -> None:
    lengths, whole = drawn
    costs = data.draw(st.lists(st.integers(1, 1024), min_size=len(lengths), max_size=len(lengths)))
    epochs = Epochs(lengths, whole, costs)
    each = [cost for length, cost in zip(lengths, costs, strict=True) for _ in range(length)]
    found = [epochs.share(steps) for steps in range(len(each) + 1)]
    assert found == pytest.approx([sum(each[:steps]) / sum(each) for steps in range(len(each) + 1)], rel=1e-12)
    alike = Epochs(lengths, whole)
    assert alike.share(len(each) // 2) == pytest.approx(len(each) // 2 / len(each), rel=1e-12)


SCHEDULES: dict[str, Schedule] = {
    "linear": one_cycle(10, epochs=6, peak_epoch=2, lr_min=0.1, lr_max=1.0, lr_final=0.01),
    "cosine": one_cycle(10, epochs=6, peak_epoch=2.5, lr_min=0.1, lr_max=1.0, lr_final=0.01, shape="cosine"),
    "knots": piecewise_linear(10, epochs=6, knots=((0, 0.1), (1.7, 1.0), (6, 0.0))),
    "cyclic": cyclic(10, epochs=6, lr_min=0.1, lr_max=1.0, half_cycle_epochs=1.5),
    "constant": constant(10, epochs=6, lr=0.3),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("lengths", [[10, 10, 7, 5, 5, 2], [3, 4, 5, 6, 7, 8], [2] * 6])
def test_short_epochs_begin_and_end_with_the_rates_of_whole_ones(name: str, lengths: list[int]) -> None:
    schedule, epochs, step = SCHEDULES[name], Epochs(lengths, 10), 0
    for epoch, length in enumerate(lengths):
        rates = [schedule(epochs.scheduled(one)) for one in range(step, step + length)]
        whole = [schedule(one) for one in range(10 * epoch, 10 * epoch + 10)]
        assert (rates[0], rates[-1]) == (whole[0], whole[-1])
        assert min(whole) <= min(rates) <= max(rates) <= max(whole) or name in ("cyclic", "knots")
        step += length
    assert schedule(epochs.scheduled(10**6)) == schedule(59)
