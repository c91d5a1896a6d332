"""The group of all commands."""

from __future__ import annotations

import click

from .. import __version__
from .broker import broker
from .demo import demo

__all__ = ["app"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="leveret")
def app() -> None:
    """Leveret: AMQP 0-9-1 for Python."""


app.add_command(broker)
app.add_command(demo)
