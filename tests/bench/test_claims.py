"""The claims' arithmetic, on reports made by hand."""

from __future__ import annotations

import pytest
from bench.clients.registry import CLIENTS
from bench.jobs import JOBS, MIB
from bench.report import Report

from bench import claims

runner = pytest.importorskip("bench.runner", reason="the harness needs py-amqp")

Facts = dict[tuple[str, str], tuple[float, float]]


def report(facts: Facts) -> Report:
    """(client, job) -> CPU microseconds a message, messages a second."""
    measurements = [
        runner.Measurement(
            *(client, job, JOBS[job].bodies[0] if JOBS[job].has_body else 0, 1000, 0),
            wall=1000 / rate,
            cpu=cpu / 1000,
        )
        for (client, job), (cpu, rate) in facts.items()
    ]
    return Report("2026-01-01", "RabbitMQ", {}, [], [], 1, measurements, [])


def line(made: Report, title: str, table: int = 0) -> str:
    return next(
        line
        for line in claims.text(made).split("\n\n")[table].splitlines()
        if line.startswith(title)
    )


def test_a_ratio_stands_beside_its_bound() -> None:
    made = report(
        {
            ("leveret", "publish"): (1.0, 50_000),
            ("leveret-pure", "publish"): (3.0, 40_000),
            ("rabbitmq-c", "publish"): (2.0, 45_000),
            ("py-amqp", "publish"): (29.0, 9_000),
        }
    )
    publish = line(made, "publish, no confirm")
    assert "0.50 (at most 0.5) pass" in publish
    assert "1.50 (at most 1.0) MISS" in publish
    assert "1/29.0 (at most 1/30) MISS" in publish
    rates = line(made, "publish, no confirm", table=1)
    assert "50,000/s 1.11 (at least 1.00) pass" in rates
    assert "40,000/s 0.89 (at least 1.00) MISS" in rates
    assert rates.endswith("rabbitmq-c 45,000/s")


def test_confirms_in_flight_are_held_against_other_jobs_of_the_references() -> None:
    made = report(
        {
            ("leveret", "confirm_1000"): (3.0, 1),
            ("rabbitmq-c", "publish"): (2.0, 1),
            ("rabbitmq-c", "confirm_1000"): (10.0, 1),
            ("py-amqp", "confirm_one"): (100.0, 1),
        }
    )
    row = line(made, "publish, 1,000 in flight")
    assert "1.50 (at most 1.0) MISS" in row
    assert "1/33.3 (at most 1/30) pass" in row


def test_what_was_not_measured_is_no_pass() -> None:
    made = report({("leveret", "publish"): (1.0, 1)})
    assert claims.NOT_MEASURED in line(made, "publish, no confirm")
    assert {each["holds"] for each in claims.as_json(made)} == {None}


def test_a_slower_median_within_the_spread_is_told_apart() -> None:
    made = report({("rabbitmq-c", "publish"): (1.0, 100.0)})
    for rate in (80.0, 95.0, 110.0):
        made.measurements.extend(report({("leveret", "publish"): (1.0, rate)}).measurements)
    assert "0.95 (at least 1.00) miss, within the spread" in line(made, "publish, no", table=1)
    made = report({("leveret", "publish"): (1.0, 95.0), ("rabbitmq-c", "publish"): (1.0, 100.0)})
    assert "0.95 (at least 1.00) MISS" in line(made, "publish, no", table=1)


def test_every_measurement_of_a_claim_is_planned() -> None:
    planned = {
        (step.client.name, step.job.name)
        for step in runner.plan([*CLIENTS.values()], claims.jobs(), 1, None, claims.wanted)
    }
    for row in claims.ROWS:
        for bound in row.bounds:
            if bound is not None:
                assert (bound.client, row.job) in planned
                assert (bound.reference, bound.job or row.job) in planned
    for _, jobs in claims.SERIES:
        assert {(client, job) for client in claims.LEVERET for job in jobs} <= planned
    assert {(claims.BARE, job) for job in claims.LARGE} <= planned
    assert ("pika", "confirm_one") not in planned
    assert (claims.BARE, "publish") not in planned
    assert ("floor", "publish") not in planned


def test_a_series_is_held_against_its_first() -> None:
    costs = zip(("held_10", "held_10000", "held_1000000"), (2.0, 2.2, 2.5), strict=True)
    made = report({("leveret", job): (cost, 1) for job, cost in costs})
    row = line(made, "consume + ack, deliveries held (10, 10000, 1000000)", table=2)
    assert "1.00 1.10 1.25 MISS" in row
    assert row.count(claims.NOT_MEASURED) == 3


def test_large_bodies_are_held_against_a_bare_socket_and_the_memory_in_hand() -> None:
    made = report(
        {("leveret", "large_consume"): (1, 71), ("bare-socket", "large_consume"): (1, 100)}
    )
    made.measurements.append(
        runner.Measurement("leveret", "large_consume_one", MIB, 1, 0, 1.0, 1.0, memory=4 * MIB)
    )
    assert "0.71 pass" in line(made, "consume, no acks", table=3)
    assert "at most 3 MiB" in line(made, "consume and ack with a prefetch of 1", table=3)
    assert "4.0 MISS" in line(made, "consume and ack with a prefetch of 1", table=3)
