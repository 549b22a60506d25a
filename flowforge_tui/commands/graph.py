"""`flowforge graph`: a workflow's tasks and dependencies, without running them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from flowforge_tui.commands.run import split_target
from flowforge_tui.flags import parameters_of

if TYPE_CHECKING:
    from engine.front import Graph


@click.command()
@click.argument("target", metavar="FILE[:WORKFLOW]")
@click.option("-p", "--param", "pairs", metavar="NAME=VALUE", multiple=True,
              help="A parameter of the workflow; as often as needed.")
@click.option("--format", "form", type=click.Choice(["text", "mermaid", "dot"]), default="text",
              show_default=True)
def graph(target: str, pairs: tuple[str, ...], form: str) -> None:
    """Show the graph of a workflow as text, or as Mermaid or DOT to be drawn."""
    from engine.front import Request, start
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
    draw = {"text": as_text, "mermaid": as_mermaid, "dot": as_dot}[form]
    write(draw(request.graph))


def as_text(graph: Graph) -> Iterator[str]:
    """A line a task: its name, and what it waits for."""
    from engine.front import wording
    from flowforge_tui.tables import columns, shown

    yield f"{shown(graph.name)}: {wording.amount(graph.size, 'task')}"
    rows = []
    for node in graph.nodes:
        above = [graph.nodes[u].name for u in node.upstream]
        waits = ", ".join(shown(n) for n in above[:10])
        more = f" … and {len(above) - 10:,} more" if len(above) > 10 else ""
        rows.append((f"  {shown(node.name)}{'[…]' if node.mapped is not None else ''}",
                     f"← {waits}{more}" if above else ""))
    yield from columns(rows)


def as_mermaid(graph: Graph) -> Iterator[str]:
    """A Mermaid flowchart; a mapped task is drawn as several."""
    yield "flowchart TD"
    for node in graph.nodes:
        left, right = ("[[", "]]") if node.mapped is not None else ("[", "]")
        yield f'  n{node.index}{left}"{_mermaid_text(node.name)}"{right}'
    yield from (f"  n{u} --> n{k}" for u, k in _edges(graph))


def as_dot(graph: Graph) -> Iterator[str]:
    """A Graphviz digraph; a mapped task has a double border."""
    yield f'digraph "{_dot_text(graph.name)}" {{'
    yield '  node [shape=box, style=rounded, fontname="sans-serif"];'
    for node in graph.nodes:
        more = ", peripheries=2" if node.mapped is not None else ""
        yield f'  n{node.index} [label="{_dot_text(node.name)}"{more}];'
    yield from (f"  n{u} -> n{k};" for u, k in _edges(graph))
    yield "}"


def _edges(graph: Graph) -> Iterator[tuple[int, int]]:
    for node in graph.nodes:
        for u in node.upstream:
            yield u, node.index


def _mermaid_text(name: str) -> str:
    from flowforge_tui.tables import shown

    table: dict[str, Any] = {c: f"#{ord(c)};" for c in '"#<>&`'}
    return shown(name).translate(str.maketrans(table))


def _dot_text(name: str) -> str:
    from flowforge_tui.tables import shown

    return shown(name).replace("\\", "\\\\").replace('"', '\\"')
