"""The bars of a run as SVG, where matplotlib (the `plot` extra) is importable."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench.report import Report


def available() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def write_svg(report: Report, path: Path) -> None:
    """One panel a table: CPU per message by job, a bar a client, logarithmic."""
    import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]

    mpl.use("svg")
    from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]

    mpl.rcParams["svg.hashsalt"] = "leveret"  # the same run gives the same file
    groups = report.groups
    figure, panels = pyplot.subplots(
        len(groups), 1, figsize=(13, 4.2 * len(groups)), squeeze=False, layout="constrained"
    )
    colour = mpl.colormaps["tab20"]  # by client: a panel may lack some
    width = 0.85 / max(1, len(report.titles))
    for group, (axes,) in zip(groups, panels, strict=True):
        for place, (client, title) in enumerate(report.titles.items()):
            offsets, heights, spreads = [], [], []
            for index, job in enumerate(group.jobs):
                summary = report.cpu.get(group.key(client, job))
                if summary is not None:
                    offsets.append(index + (place - (len(report.titles) - 1) / 2) * width)
                    heights.append(summary.median)
                    spreads.append((summary.spread or 0.0) * summary.median)
            look = {"color": colour(place % colour.N), "error_kw": {"lw": 0.8}}
            axes.bar(offsets, heights, width, yerr=spreads, label=title, **look)
        axes.set_yscale("log")
        axes.set_ylabel("client CPU per message, µs")
        axes.set_xticks(range(len(group.jobs)), group.jobs)
        axes.set_title(group.title, loc="left")
        axes.grid(axis="y", alpha=0.3)
    figure.suptitle(f"{report.broker}; {report.machine['cpu']}; {report.machine['python']}")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right upper")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
