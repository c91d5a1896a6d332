"""`leveret broker`: the embedded broker as a process."""

from __future__ import annotations

import sys

import click

from ..broker.__main__ import main

__all__ = ["broker"]


@click.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def broker(arguments: tuple[str, ...]) -> None:
    """Run the embedded broker until Ctrl-C."""
    sys.exit(main(arguments))
