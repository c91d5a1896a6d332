"""No message costs more calls than recorded."""

from __future__ import annotations

import pytest

from . import bounds
from .bounds import Cost, NoCodec

WORTH_IT = "If that is worth it: python -m tests.cost --record"


@pytest.mark.parametrize("codec", bounds.CODECS)
def test_a_message_makes_no_more_calls_than_recorded(codec: str) -> None:
    recorded, same_python = bounds.read()
    try:
        costs = bounds.count(codec)
    except NoCodec as error:
        pytest.skip(str(error))
    assert set(costs) == set(recorded)
    for _ in range(bounds.TRIES - 1):
        if bounds.excesses(costs, codec, recorded):
            costs = bounds.least(costs, bounds.count(codec))
    if not same_python:
        costs = {name: bounds.without_python(cost) for name, cost in costs.items()}
    too_much = bounds.excesses(costs, codec, recorded)
    assert not too_much, "\n".join([*too_much, WORTH_IT])


def test_pythons_own_functions_can_be_left_out() -> None:
    functions = {"python/selectors.py:select": 2, "wire/table.py:encode_table": 1}
    cost = Cost(4, 0.5, {**functions, "sync/locks.py:_Kept.__enter__": 1})
    own = bounds.without_python(cost)
    assert own == Cost(1, 0.5, {"wire/table.py:encode_table": 1})


def test_an_excess_names_the_functions() -> None:
    recorded = {"publish": {"pure": 1, "compiled": 2, "system": 0.25}}
    cost = {"publish": Cost(2, 0.25, {"a.py:f": 2})}
    assert bounds.excesses(cost, "compiled", recorded) == []
    (line,) = bounds.excesses(cost, "pure", recorded)
    assert line == "publish, pure: 2 calls a message, at most 1\n    2 a.py:f"
    (line,) = bounds.excesses({"publish": Cost(1, 1.0, {})}, "pure", recorded)
    assert line == "publish, pure: 1.0 system calls a message, at most 0.25"
