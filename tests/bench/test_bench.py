"""The harness without a broker: plan, statistics, tables, JSON, addresses, command line."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from bench.address import Address
from bench.cli import main, parse_size, parser, write
from bench.clients.registry import CLIENTS, REFERENCES, Entry
from bench.jobs import JOBS, MIN_MESSAGES, Kind, Suite
from bench.report import (
    Report,
    as_json,
    format_size,
    format_summary,
    layout,
    markdown,
    read_json,
    text,
    write_json,
)
from bench.stats import ratio, summarize

from bench import native

ROOT = Path(__file__).resolve().parents[2]
runner = pytest.importorskip("bench.runner", reason="the harness needs py-amqp")


def report(repeats: int = 3) -> Report:
    """Clients that cost 10, 40 and 80 µs a message; the last repeat of pika's publish failed."""
    costs = {"rabbitmq-c": 10, "py-amqp": 40, "pika": 80}
    measurements = []
    for repeat in range(repeats):
        for job in ("publish", "confirm_256", "roundtrip"):
            for client, cost in costs.items():
                if job in CLIENTS[client].cannot:
                    continue
                body = 100 if JOBS[job].has_body else 0
                facts = (client, job, body, 1000, repeat)
                if client == "pika" and job == "roundtrip":
                    made = runner.Measurement(*facts, error="no reply")
                else:
                    made = runner.Measurement(*facts, wall=0.5, cpu=cost / 1000, version="1.0")
                measurements.append(made)
    machine = {"cpu": "a CPU", "cores": 2, "system": "a system", "python": "CPython 3"}
    return Report("2026-01-01", "RabbitMQ 4.3", machine, [0.5], [], repeats, measurements, [])


def test_summary_is_median_and_half_of_the_quartile_distance() -> None:
    summary = summarize([100.0, 104.0, 96.0, 102.0, 900.0])
    assert summary.median == 102.0
    assert summary.spread == pytest.approx(2.0 / 102.0)
    assert (summary.minimum, summary.maximum, summary.count) == (96.0, 900.0, 5)


def test_one_value_has_no_spread_and_none_is_an_error() -> None:
    assert summarize([3.0]).spread is None
    with pytest.raises(ValueError, match="no values"):
        summarize([])


def test_ratio_is_of_medians_and_none_without_a_reference() -> None:
    assert ratio(summarize([1.0, 2.0, 9.0]), summarize([4.0])) == 0.5
    assert ratio(summarize([1.0]), None) is None
    assert ratio(None, summarize([1.0])) is None


@pytest.mark.parametrize(
    ("values", "shown"),
    [([1.234], "1.23"), ([12.34], "12.3"), ([123.4], "123"), ([10.0, 10.0, 10.0], "10.0 ±0%")],
)
def test_a_summary_is_shown_with_three_digits(values: list[float], shown: str) -> None:
    assert format_summary(summarize(values)) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(0, "0 B"), (100, "100 B"), (4096, "4 KiB"), (1024 * 1024, "1 MiB")]
)
def test_sizes_are_read_as_they_are_shown(size: int, shown: str) -> None:
    assert format_size(size) == shown
    assert parse_size(shown.replace(" ", "").removesuffix("B") + "B" * (size > 100) or "0") == size


def test_columns_are_aligned() -> None:
    assert layout([["", "ab"], ["x", "1"]]) == "   ab\nx   1"


def test_tables_can_be_markdown() -> None:
    assert markdown([["", "ab"], ["x", "1"]]) == "\n|  | ab |\n|---|---|\n| x | 1 |"


def test_results_lie_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results" / "run.json"
    write(report(), path, with_claims=True)
    said = capsys.readouterr().out
    assert str(path) in said
    words = path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| publish, no confirm, blocking | not measured |" in words
    assert "| pika 1.0 | 8.00 | - | failed |" in words
    assert main(["--show", str(path), "--claims"]) == 0
    assert "publish, no confirm, blocking" in capsys.readouterr().out


def test_plan_takes_turns_and_leaves_out_what_a_client_cannot_do() -> None:
    clients = [CLIENTS["py-amqp"], CLIENTS["pika"]]
    jobs = [(JOBS["confirm_256"], 100), (JOBS["confirm_256"], 4096), (JOBS["roundtrip"], 0)]
    steps = list(runner.plan(clients, jobs, repeats=2))
    assert [(step.repeat, step.client.name, step.job.name, step.body) for step in steps] == [
        (0, "py-amqp", "confirm_256", 100),
        (0, "py-amqp", "confirm_256", 4096),
        (0, "py-amqp", "roundtrip", 0),
        (0, "pika", "roundtrip", 0),
        (1, "py-amqp", "confirm_256", 100),
        (1, "py-amqp", "confirm_256", 4096),
        (1, "pika", "roundtrip", 0),
        (1, "py-amqp", "roundtrip", 0),
    ]


def test_large_bodies_mean_fewer_messages() -> None:
    job = JOBS["publish"]
    assert job.count(100) == job.messages
    assert job.count(1024 * 1024) == 64
    assert job.count(1024 * 1024, messages=7) == 7


def test_slow_clients_get_a_share_of_the_messages_but_not_too_few() -> None:
    assert JOBS["publish"].count(100, share=0.2) == JOBS["publish"].messages // 5
    assert JOBS["roundtrip"].count(0, share=0.001) == MIN_MESSAGES
    assert JOBS["publish"].count(100, messages=9, share=0.2) == 9


def test_leveret_is_there_with_each_codec() -> None:
    for name in ("leveret", "leveret-asyncio", "drop-in"):
        compiled, pure = CLIENTS[name], CLIENTS[f"{name}-pure"]
        assert compiled.module == pure.module
        assert compiled.environment == {"LEVERET_CODEC": "compiled"}
        assert pure.environment == {"LEVERET_CODEC": "pure"}
    assert not CLIENTS["pika"].environment


def test_a_client_without_its_file_or_package_is_missing() -> None:
    assert Entry("a", "nobody", "leveret").missing() == "there is no bench/clients/nobody.py"
    missing = Entry("a", "pika", "no_such_package").missing()
    assert missing == "the Python package no_such_package is not installed"


def test_every_kind_of_job_is_declared_and_exceptions_name_jobs() -> None:
    assert {job.kind for job in JOBS.values()} == set(Kind)
    assert all(set(entry.cannot) <= set(JOBS) for entry in CLIENTS.values())
    assert set(REFERENCES) <= set(CLIENTS)
    files = Path(native.__file__).parent / "clients"
    here = {file.stem for file in files.glob("*.py")} - {"__init__", "driver", "registry"}
    assert here <= {entry.module for entry in CLIENTS.values()}


def test_tables_show_ratios_dashes_and_failures() -> None:
    lines = text(report()).splitlines()
    start = next(n for n, line in enumerate(lines) if "rabbitmq-c = 1" in line)
    table = [line.split() for line in lines[start + 1 : start + 5]]
    assert table == [
        ["publish", "confirm_256", "roundtrip"],
        ["rabbitmq-c", "1.0", "1.00", "1.00", "1.00"],
        ["py-amqp", "1.0", "4.00", "4.00", "4.00"],
        ["pika", "1.0", "8.00", "-", "failed"],
    ]
    assert "pika: failed in roundtrip: no reply" in lines
    assert any(line.startswith("pika: - in confirm_256: ") for line in lines)


def test_json_has_ratios_and_every_measurement(tmp_path: Path) -> None:
    made = report()
    path = tmp_path / "results" / "run.json"
    write_json(made, path)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read == json.loads(json.dumps(as_json(made)))
    assert len(read["measurements"]) == len(made.measurements)
    row = next(row for row in read["summary"] if (row["client"], row["job"]) == ("pika", "publish"))
    assert row["cpu_ratio"] == {
        "py-amqp": pytest.approx(2.0),
        "rabbitmq-c": pytest.approx(8.0),
        "aio-pika": None,
    }
    assert row["rate"]["median"] == pytest.approx(2000.0)
    again = read_json(path)
    assert as_json(again) == as_json(made)
    assert text(again) == text(made)


@pytest.mark.parametrize("url", ["amqp://h", "amqp://h/", "amqp://guest:guest@h:5672/%2F"])
def test_urls_have_one_spelling(url: str) -> None:
    assert Address.parse(url).url == "amqp://guest:guest@h:5672/%2F"


def test_url_of_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="amqps"):
        Address.parse("amqps://h/")


def test_frames_of_a_publish_are_split_at_the_frame_size() -> None:
    broker = pytest.importorskip("bench.broker")
    assert broker.frames(1, "q", b"abc").endswith(b"\x03\x00\x01\x00\x00\x00\x03abc\xce")
    size = broker.FRAME_MAX - 8
    overhead = len(broker.frames(1, "q", b""))
    assert len(broker.frames(1, "q", b"x" * (size + 1))) == overhead + size + 1 + 2 * 8


def test_list_names_clients_and_jobs() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "bench", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    words = result.stdout.split()
    assert set(CLIENTS) | set(JOBS) <= set(words)


def test_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--clients", "nobody"])
    assert "'nobody': choose from leveret" in capsys.readouterr().err


def test_no_broker_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--clients", "py-amqp", "--url", "amqp://127.0.0.1:1/"]) == 2
    assert "no broker at 127.0.0.1:1" in capsys.readouterr().err


def test_micro_benchmarks_do_the_same_with_each_codec() -> None:
    micro = pytest.importorskip("bench.micro", reason="pyperf is not installed")
    results = [
        {
            title: repr(function(*arguments))
            for title, (_, function, arguments) in micro.cases(import_module(module)).items()
        }
        for module in micro.NAMES.values()
        if find_spec(module) is not None
    ]
    assert all(result == results[0] for result in results)


def test_the_commands_of_the_document_are_understood() -> None:
    words = (ROOT / "docs" / "speed.md").read_text(encoding="utf-8")
    arguments = re.findall(r'make bench ARGS="([^"]+)"', words)
    assert arguments
    for each in arguments:
        parser().parse_args(shlex.split(each))
    listed = re.search(r"^\| Suite .*?\n\n", words, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert set(re.findall(r"^\| `(\w+)`", listed[0], re.MULTILINE)) == set(Suite)


def test_the_plot_has_every_client_and_every_table(tmp_path: Path) -> None:
    plot = pytest.importorskip("bench.plot")
    if not plot.available():
        pytest.skip("matplotlib is not installed")
    path = tmp_path / "run.svg"
    plot.write_svg(report(), path)
    words = path.read_text(encoding="utf-8")
    assert all(f"<!-- {title} -->" in words for title in report().titles.values())
    assert all(f"<!-- {group.title} -->" in words for group in report().groups)
