"""`flowforge export`: a run written out whole, for other programs or for people."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("run")
@click.option("--format", "form", type=click.Choice(["json", "trace", "html"]), default="json",
              show_default=True)
@click.option("-o", "--output", "target", type=click.Path(dir_okay=False, path_type=Path),
              help="A file, instead of stdout.")
def export(run: str, form: str, target: Path | None) -> None:
    """Write a run out as JSON, as a trace (open it at ui.perfetto.dev), or as one HTML page."""
    from engine.front import open_stored, state_directory
    from flowforge_tui.run_export import as_html, as_json, as_trace

    pieces = {"json": as_json, "trace": as_trace, "html": as_html}[form](
        open_stored(state_directory(), run))
    if target is None:
        stream = sys.stdout
        stream.writelines(_plain(piece) for piece in pieces)
        stream.write("\n")
        return
    try:
        with target.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(pieces)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from None


def _plain(piece: str) -> str:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return piece.encode(encoding, "replace").decode(encoding)
