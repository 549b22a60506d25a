"""`flowforge graph`: a workflow's tasks and dependencies, without running them."""

from __future__ import annotations

import sys

import click

from flowforge_tui.commands.run import split_target
from flowforge_tui.flags import parameters_of


@click.command()
@click.argument("target", metavar="FILE[:WORKFLOW]")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True,
              help="A parameter of the workflow; as often as needed.")
@click.option("--format", "form", type=click.Choice(["text", "mermaid", "dot", "svg"]),
              default="text", show_default=True)
def graph(target: str, pairs: tuple[str, ...], form: str) -> None:
    """Show the graph of a workflow as text, or as Mermaid, DOT or SVG."""
    from engine.front import Request, start
    from flowforge_tui.graph_export import as_dot, as_mermaid, as_svg, as_text, of_graph
    from flowforge_tui.tables import write

    file, workflow = split_target(target)
    request = Request("graph")
    real = sys.stdout
    sys.stdout = sys.stderr  # what the file prints while it is loaded is not the graph
    try:
        start(request, file, workflow=workflow, written=parameters_of(pairs))
    finally:
        sys.stdout = real
    assert request.graph is not None  # `start` raises where there is none
    draw = {"text": as_text, "mermaid": as_mermaid, "dot": as_dot, "svg": as_svg}[form]
    write(draw(of_graph(request.graph)))
