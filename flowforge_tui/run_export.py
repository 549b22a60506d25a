"""A run written out whole: JSON, a trace for Perfetto, or one HTML page. Pure, a piece at a time.

Rule 1: names, errors and values are untrusted text: JSON escapes them, HTML escapes them after
        they were made safe. The page loads nothing, runs nothing, and says so to the browser.
Rule 2: a page has room for so much; what is left out is counted, and is in the JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from engine import TaskState
from engine.front import LOOKS, RUN_COLOURS, StoredRun, safe, safe_line, wording
from flowforge_tui.commands.show import run_fields
from flowforge_tui.graph_export import as_svg, of_run
from flowforge_tui.model import RunView
from flowforge_tui.run_history import Ended, attempts_of, laned
from flowforge_tui.shape import Shape
from flowforge_tui.tables import moment

#: Of a page: failures and attempts shown, nodes of a graph that is drawn, pixels across.
FAILURES, ATTEMPTS, NODES, WIDE = 50, 5_000, 300, 1000


def as_json(stored: StoredRun) -> Iterator[str]:
    """One object: `run`, `tasks` (each task run), `attempts`, `damage`."""
    damage: list[str] = []
    yield '{"run": ' + json.dumps(run_fields(stored)) + ',\n"tasks": ['
    yield from _listed(_task(stored, tid) for tid in stored.record.live_ids())
    yield '],\n"attempts": ['
    yield from _listed(_attempt(a) for a in attempts_of(stored, damage))
    yield '],\n"damage": ' + json.dumps(damage) + "}"


def _listed(fields: Iterator[dict[str, Any]]) -> Iterator[str]:
    before = ""
    for one in fields:
        yield before + json.dumps(one)
        before = ",\n"


def _task(stored: StoredRun, tid: int) -> dict[str, Any]:
    record, outline = stored.record, stored.history.outline
    assert outline is not None  # there are task runs
    node = record.node_of(tid)
    reason, error = record.errors.get(tid, ("", None))
    return {
        "task": stored.name_of(tid), "node": outline.names[node], "state": stored.state_word(tid),
        "generation": record.generation.get(tid, 1), "attempt": record.number[tid],
        "start": record.start[tid], "end": record.end[tid], "reason": reason,
        "error": error._asdict() if error is not None else None,
        "why": record.why.get(tid, (-1, ""))[1], "result": stored.preview(tid),
        "upstream": [outline.names[u] for u in outline.upstream_of(node)],
    }


def _attempt(a: Ended) -> dict[str, Any]:
    return {**a._asdict(), "error": a.error._asdict() if a.error is not None else None}


# -- a trace ----------------------------------------------------------------------------------


def as_trace(stored: StoredRun) -> Iterator[str]:
    """Chrome's trace event format, which ui.perfetto.dev opens: a slice an attempt."""
    damage: list[str] = []
    run = f"{stored.about.get('workflow', '')} {stored.run_id}"
    yield '{"displayTimeUnit": "ms", "traceEvents": ['
    yield json.dumps({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": run}})
    lanes = 0
    for lane, a in laned(list(attempts_of(stored, damage))):
        if lane >= lanes:
            lanes = lane + 1
            yield ",\n" + json.dumps({"name": "thread_name", "ph": "M", "pid": 1, "tid": lane,
                                      "args": {"name": f"lane {lane}"}})
        yield ",\n" + json.dumps(_slice(lane, a))
    yield "]}"


def _slice(lane: int, a: Ended) -> dict[str, Any]:
    about: dict[str, Any] = {"state": a.state, "attempt": a.attempt, "generation": a.generation}
    if a.error is not None:
        about.update(reason=a.reason, error=str(a.error))
    return {
        "name": a.task, "cat": a.kind, "ph": "X", "pid": 1, "tid": lane,
        "ts": round(a.start * 1e6, 1), "dur": round(max(0.0, a.end - a.start) * 1e6, 1),
        "args": about, **({"cname": "terrible"} if a.error is not None else {}),
    }


# -- a page -------------------------------------------------------------------------------------

_STYLE = """
:root { color-scheme: light dark; --line: #8b949e55; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .2rem .6rem .2rem 0;
  text-align: left; vertical-align: top; border-bottom: 1px solid var(--line) }
td.n { text-align: right; font-variant-numeric: tabular-nums }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); border-radius: 4px }
.bar { display: flex; height: .6rem; width: 100%; border-radius: 3px; overflow: hidden }
.dim { opacity: .7 } svg { max-width: 100%; height: auto }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(stored: StoredRun) -> Iterator[str]:
    """One page that needs nothing else: how it ended, failures, tasks, timeline, graph."""
    title = f"{_text(str(stored.about.get('workflow', '')))} {_text(stored.run_id)}"
    yield ('<!doctype html><html lang="en"><head><meta charset="utf-8">'
           f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
           f"<title>{title}</title><style>{_STYLE}</style></head><body>")
    yield from _head(stored)
    yield from _failures(stored)
    yield from _sections(stored)
    yield from _timeline(stored)
    yield from _graph(stored)
    yield "</body></html>"


def _text(text: str, most: int = 300) -> str:
    return escape(safe_line(text, most))


def _head(stored: StoredRun) -> Iterator[str]:
    record, state = stored.record, stored.state
    yield (f"<h1>{_text(str(stored.about.get('workflow', '')))} "
           f'<span style="color:{RUN_COLOURS[state]}">{state}</span></h1>')
    took = f" · {wording.duration(record.ended - record.began)}" if record.ended else ""
    yield (f'<p class="dim">run {_text(stored.run_id)} · began {moment(record.began)}{took} · '
           f"{_text(str(stored.about.get('file') or 'no file'))}</p>")
    counts = record.counts()
    yield f"<p>{escape(wording.how_it_ended(counts))}</p>{_bar(counts)}"
    for damage in stored.history.damage:
        yield f"<p>damage: {_text(damage)}</p>"


def _bar(counts: dict[TaskState, int]) -> str:
    parts = "".join(
        f'<span title="{n:,} {LOOKS[s].word}" style="flex:{n};background:{LOOKS[s].colour}"></span>'
        for s, n in counts.items() if n)
    return f'<div class="bar">{parts}</div>'


def _failures(stored: StoredRun) -> Iterator[str]:
    failed = stored.failed()
    if not failed:
        return
    yield f"<h2>Failures ({len(failed):,})</h2>"
    for tid in failed[:FAILURES]:
        reason, error = stored.record.errors.get(tid, ("", None))
        said = _text(str(error), 500) if error is not None else escape(str(reason))
        yield f"<details><summary><b>{_text(stored.name_of(tid))}</b>: {said}</summary>"
        if error is not None and error.traceback:
            yield f"<pre>{escape(safe(error.traceback))}</pre>"
        yield "</details>"
    if len(failed) > FAILURES:
        yield f'<p class="dim">… and {len(failed) - FAILURES:,} more</p>'


def _sections(stored: StoredRun) -> Iterator[str]:
    yield "<h2>Tasks</h2><table><tr><th>task</th><th></th><th>how it ended</th></tr>"
    for name, counts in stored.sections():
        total = sum(counts.values())
        yield (f'<tr><td>{_text(name)}</td><td class="n">{total:,}</td>'
               f"<td>{escape(wording.how_it_ended(counts))}{_bar(counts)}</td></tr>")
    yield "</table>"


def _timeline(stored: StoredRun) -> Iterator[str]:
    attempts = list(attempts_of(stored, []))
    if not attempts:
        return
    first, last = min(a.start for a in attempts), max(a.end for a in attempts)
    placed = list(laned(attempts))
    lanes = 1 + max(lane for lane, _ in placed)
    shown = sorted(placed, key=lambda p: p[1].start - p[1].end)[:ATTEMPTS]  # the longest
    shown.sort(key=lambda p: p[1].error is not None)  # failures last, so that they are on top
    high, scale = max(3, min(16, 600 // lanes)), WIDE / max(last - first, 1e-9)
    yield f"<h2>Timeline</h2><p>{wording.duration(last - first)}, {lanes:,} at once at most</p>"
    yield f'<svg viewBox="0 0 {WIDE} {lanes * (high + 1)}" width="{WIDE}" role="img">'
    for lane, a in shown:
        colour = LOOKS[TaskState[a.state]].colour
        yield (f'<rect x="{(a.start - first) * scale:.2f}" y="{lane * (high + 1)}" '
               f'width="{max(0.5, (a.end - a.start) * scale):.2f}" height="{high}" '
               f'fill="{colour}"><title>{_text(a.task)}: '
               f"{wording.duration(a.end - a.start)}</title></rect>")
    yield "</svg>"
    if len(placed) > len(shown):
        yield f'<p class="dim">the {len(shown):,} longest of {len(placed):,} attempts</p>'


def _graph(stored: StoredRun) -> Iterator[str]:
    outline = stored.history.outline
    if outline is None or outline.size > NODES:
        return
    yield "<h2>Graph</h2>"
    yield from as_svg(of_run(RunView.of_record(Shape(outline), stored.record)))
