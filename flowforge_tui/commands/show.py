"""`flowforge show`: a run, or one task of it."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engine.front import StoredRun

#: Failed task runs that a look at the run tells one by one, and lines of its overview.
FAILURES_SHOWN = 10
SECTIONS_SHOWN = 200


@click.command()
@click.argument("run")
@click.argument("task", required=False)
@click.option("--json", "as_json", is_flag=True, help="As a JSON object.")
def show(run: str, task: str | None, as_json: bool) -> None:
    """Show how a run stands, or all that is known of one of its tasks."""
    from engine.front import open_stored, state_directory
    from flowforge_tui.tables import write

    stored = open_stored(state_directory(), run)
    if task is None:
        write([json.dumps(run_fields(stored), indent=1)] if as_json else run_lines(stored))
        return
    found = stored.find(task)
    if as_json:
        fields = [task_fields(stored, tid) for tid in found]
        write([json.dumps(fields[0] if len(fields) == 1 else fields, indent=1)])
    elif len(found) == 1:
        write(task_lines(stored, found[0]))
    else:
        write(_item_lines(stored, found))


# -- a run ------------------------------------------------------------------------------------


def run_fields(stored: StoredRun) -> dict[str, Any]:
    """A run as plain data."""
    record, owner = stored.record, stored.owner
    return {
        "run_id": stored.run_id, "workflow": stored.about.get("workflow", ""),
        "file": stored.about.get("file"), "state": str(stored.state), "why": record.run_why,
        "began": record.began, "ended": record.ended,
        "owner": {"pid": owner.pid, "host": owner.host} if owner is not None else None,
        "yours": stored.mine,
        "parameters": {k: reprlib.repr(v) for k, v in _parameters(stored).items()},
        "counts": {s.name: n for s, n in record.counts().items() if n},
        "sessions": len(stored.history.sessions), "damage": stored.history.damage,
        "tasks": [{"task": name, "counts": {s.name: n for s, n in counts.items() if n}}
                  for name, counts in stored.sections()],
        "failed": [{"task": stored.name_of(t), **_failure(stored, t)} for t in stored.failed()],
    }


def _failure(stored: StoredRun, tid: int) -> dict[str, Any]:
    reason, error = stored.record.errors.get(tid, ("", None))
    return {"reason": reason, "error": error._asdict() if error is not None else None}


def _parameters(stored: StoredRun) -> dict[str, Any]:
    from engine.errors import StorageError

    try:
        return stored.parameters(trusted=False)
    except StorageError as error:
        return {"(unreadable)": str(error)}


def run_lines(stored: StoredRun) -> Iterator[str]:
    """A run for people."""
    from engine.front import safe_line, wording
    from flowforge_tui.tables import columns, run_state, shown

    record = stored.record
    yield f"{shown(str(stored.about.get('workflow', '')))}  {stored.run_id}  " \
          f"{run_state(stored.state)}{_because(record.run_why)}"
    yield wording.how_it_ended(record.counts())
    yield from columns(list(_about_rows(stored)))
    if not stored.mine:
        yield "not signed with your key: somebody else's run, to be looked at only"
    for damage in stored.history.damage:
        yield f"damage: {safe_line(damage, 300)}"
    yield ""
    yield from columns([_section_row(name, counts) for name, counts in
                        stored.sections()[:SECTIONS_SHOWN]])
    if len(stored.sections()) > SECTIONS_SHOWN:
        yield f"… and {len(stored.sections()) - SECTIONS_SHOWN:,} more"
    failed = stored.failed()
    if failed:
        yield ""
    for tid in failed[:FAILURES_SHOWN]:
        reason, error = record.errors.get(tid, ("", None))
        yield f"{shown(stored.name_of(tid))}: {wording.error_line(error)}" \
              f"{_because(reason if reason != 'error' else '')}"
    if len(failed) > FAILURES_SHOWN:
        yield f"… and {len(failed) - FAILURES_SHOWN:,} more failed"
    step = wording.next_step(
        stored.state, stored.run_id, str(stored.home), live=stored.owner is not None)
    if step is not None:
        yield f"{step[0]}: {step[1]}"


def _because(why: str) -> str:
    from flowforge_tui.tables import shown

    return f" ({shown(why, 200)})" if why else ""


def _about_rows(stored: StoredRun) -> Iterator[tuple[str, str]]:
    from engine.front import wording
    from flowforge_tui.tables import moment, shown

    record, owner = stored.record, stored.owner
    if stored.about.get("file"):
        yield "file", shown(str(stored.about["file"]), 200)
    for name, value in _parameters(stored).items():
        yield "parameter", shown(f"{name} = {reprlib.repr(value)}", 200)
    yield "began", moment(record.began)
    if record.ended and owner is None:  # a pause, of a live run
        yield "ended", f"{moment(record.ended)}, " \
                       f"{wording.duration(record.ended - record.began)} later"
    if owner is not None:
        yield "owner", shown(f"process {owner.pid} on {owner.host}")
    if len(stored.history.sessions) > 1:
        yield "sessions", str(len(stored.history.sessions))


def _section_row(name: str, counts: dict[Any, int]) -> tuple[str, ...]:
    from engine.front import IS_TERMINAL, wording
    from flowforge_tui.tables import shown, task_state

    worst = _worst(counts)
    total = sum(counts.values())
    done = sum(n for s, n in counts.items() if IS_TERMINAL[s])
    return task_state(worst), shown(name), f"{done:,}/{total:,}" if total != 1 else "", \
        wording.how_it_ended(counts) if total > 1 else ""


def _worst(counts: dict[Any, int]) -> Any:
    """The state that a line of several task runs shows: what asks most for attention."""
    from engine import TaskState as S

    order = (S.FAILED, S.RUNNING, S.CANCELLING, S.UP_FOR_RETRY, S.UPSTREAM_FAILED, S.CANCELLED,
             S.QUEUED, S.PENDING, S.SUCCESS, S.CACHED, S.SKIPPED)
    return next((s for s in order if counts.get(s)), S.SUCCESS)


# -- a task -----------------------------------------------------------------------------------


def task_fields(stored: StoredRun, tid: int) -> dict[str, Any]:
    """A task run as plain data."""
    record = stored.record
    above, below = stored.neighbours(tid)
    place = stored.place(tid)
    why = record.why.get(tid, (-1, ""))
    return {
        "task": stored.name_of(tid), "state": stored.state_word(tid),
        "generation": record.generation.get(tid, 1), "attempt": record.number[tid],
        "start": record.start[tid], "end": record.end[tid], **_failure(stored, tid),
        "why": why[1], "waits_for": stored.waits_for(tid),
        "cause": stored.name_of(why[0]) if why[0] >= 0 else None,
        "inputs": stored.inputs(tid), "result": stored.preview(tid),
        "upstream": above, "downstream": below,
        "file": place.file if place is not None else "",
        "line": place.line if place is not None else 0,
    }


def task_lines(stored: StoredRun, tid: int) -> Iterator[str]:
    """A task run for people."""
    from engine.front import safe, wording
    from flowforge_tui.tables import columns, shown, task_state

    fields, record = task_fields(stored, tid), stored.record
    state = task_state(record.state_of(tid), fields["state"])
    yield f"{shown(fields['task'])}  {state}{_because(fields['reason'] or fields['why'])}"
    yield from columns(list(_task_rows(fields)))
    error = record.errors.get(tid, ("", None))[1]
    if error is not None:
        yield ""
        yield safe(error.traceback).rstrip() or wording.error_line(error)
    if Path(stored.logs).is_dir():
        yield ""
        yield "log: " + wording.command("logs", stored.run_id, fields["task"],
                                        home=str(stored.home))


def _task_rows(fields: dict[str, Any]) -> Iterator[tuple[str, str]]:
    from engine.front import wording
    from flowforge_tui.tables import moment, shown

    if fields["attempt"]:
        again = f", generation {fields['generation']}" if fields["generation"] > 1 else ""
        yield "attempt", f"{fields['attempt']}{again}"
        yield "started", moment(fields["start"])
    if fields["waits_for"]:
        yield "waits for", shown(fields["waits_for"])
    if fields["end"]:
        yield "took", wording.duration(fields["end"] - fields["start"])
    if fields["cause"]:
        yield "because of", shown(fields["cause"])
    if fields["file"]:
        yield "code", shown(f"{fields['file']}:{fields['line']}", 300)
    for name, value in list(fields["inputs"].items())[:10]:
        yield "input", shown(f"{name} = {value}", 300)
    if fields["result"]:
        yield "result", shown(fields["result"], 1000)
    for title in ("upstream", "downstream"):
        names = fields[title]
        if names:
            more = f" … and {len(names) - 10:,} more" if len(names) > 10 else ""
            yield title, ", ".join(shown(n) for n in names[:10]) + more


def _item_lines(stored: StoredRun, found: Any) -> Iterator[str]:
    """The items of a map, or the tasks of a group, a line each."""
    from engine.front import wording
    from flowforge_tui.tables import columns, shown, task_state

    record, rows = stored.record, []
    for tid in found:
        took = record.end[tid] - record.start[tid] if record.end[tid] else 0.0
        error = record.errors.get(tid, ("", None))[1]
        rows.append((
            task_state(record.state_of(tid), stored.state_word(tid)), shown(stored.name_of(tid)),
            f"try {record.number[tid]}" if record.number[tid] else "",
            wording.duration(took) if took > 0 else "",
            wording.error_line(error) if error is not None else "",
        ))
    yield from columns(rows)
