"""Every key of the screen, told once: the bindings, the help, the palette and the key bar are
all made from this table.

Rule 1: a key has an id, by which a person may give it other keys (`keys.toml`, see `keymap`).
Rule 2: none needs ctrl; upper case reaches further than lower case.
Rule 3: keys of a view (the log's `w`) are the view's own, and act where it has the focus.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from textual.binding import Binding, BindingType


class Key(NamedTuple):
    """One thing that a key does."""

    id: str
    keys: str
    """Textual's names, with commas between alternatives."""
    action: str
    shown: str
    """As help shows the keys; empty: another one stands for it there."""
    text: str
    """What it does."""
    group: str
    bar: str = ""
    """Its word in the key bar; empty: not there."""


RUN_KEYS: tuple[Key, ...] = (
    Key("open", "enter", "open", "Enter", "open the task under the cursor", "inspect", "open"),
    Key("retry", "r", "retry", "r", "retry what failed, with edited code", "act", "retry"),
    Key("rerun", "R", "rerun", "R", "rerun with everything downstream", "act", "rerun"),
    Key("cancel", "x", "cancel", "x", "cancel the marked tasks, or the run", "act"),
    Key("pause", "p", "pause", "p", "pause dispatching, and go on", "act"),
    Key("fewer", "left_parenthesis", "workers(-1)", "(", "a worker fewer", "act"),
    Key("more", "right_parenthesis", "workers(1)", ")", "a worker more", "act"),
    Key("undo", "u", "undo", "u", "undo the last command", "act"),
    Key("next_failure", "n", "tree('next_failure')", "n", "next failure", "find", "next✗"),
    Key("previous_failure", "N", "tree('previous_failure')", "N", "previous failure", "find"),
    Key("filter", "slash", "filter", "/", "filter: state:failed dur>10 name", "find", "filter"),
    Key("failed_only", "f", "failed_only", "f", "failures only, and all again", "find", "failed"),
    Key("sort", "s", "tree('sort')", "s", "sort: order, attention, duration, name", "find"),
    Key("all_items", "o", "tree('show_all')", "o", "show or fold what went well", "find"),
    Key("follow", "F", "tree('follow')", "F", "follow what runs", "find"),
    Key("mark", "space", "tree('mark')", "space", "mark, or take the mark off", "select"),
    Key("range", "V", "tree('mark_range')", "V", "mark from the last mark to here", "select"),
    Key("same_error", "E", "tree('mark_same_error')", "E", "mark all with the same error",
        "select"),
    Key("mark_all", "A", "tree('mark_all')", "A", "mark all that the filter shows", "select"),
    Key("clear", "escape", "clear", "Esc", "clear marks, filter, close", "select"),
    Key("log", "l", "tab('log')", "l", "the task's log", "inspect", "log"),
    Key("dependencies", "d", "tab('dependencies')", "d", "what it waits for, what waits for it",
        "inspect"),
    Key("timeline", "g", "timeline", "g", "the timeline, with more room and back", "inspect"),
    Key("graph", "G", "graph", "G", "the graph around the task", "inspect"),
    Key("data", "i", "tab('data')", "i", "inputs and outputs", "inspect"),
    Key("tab_error", "1", "tab('error')", "1", "the error", "inspect"),
    Key("tab_log", "2", "tab('log')", "2", "the log", "inspect"),
    Key("tab_data", "3", "tab('data')", "3", "inputs and outputs", "inspect"),
    Key("tab_dependencies", "4", "tab('dependencies')", "4", "dependencies", "inspect"),
    Key("tab_attempts", "5", "tab('attempts')", "5", "attempts", "inspect"),
    Key("tab_code", "6", "tab('code')", "6", "the code", "inspect"),
    Key("edit", "e", "edit", "e", "open $EDITOR at the line", "out", "edit"),
    Key("pager", "L", "pager", "L", "open $PAGER on the whole log", "out"),
    Key("yank", "y", "yank", "y", "copy: id, traceback, log, command", "out"),
    Key("save", "S", "save", "S", "save the log to a file", "out"),
    Key("zoom", "z", "zoom", "z", "one pane alone, without borders", "view"),
    Key("layout", "backslash", "layout", "\\", "another layout", "view"),
    Key("next_pane", "tab", "next_pane", "Tab", "to the next pane", "view"),
    Key("mouse", "M", "mouse", "M", "leave the mouse to the terminal, and back", "view"),
    Key("palette", "colon,ctrl+p", "app.command_palette", ":", "all commands", "view", "cmd"),
    Key("help", "question_mark,f1", "help", "?", "this help", "view", "keys"),
    Key("travel", "t", "travel", "t", "travel through the run's time", "run"),
    Key("detach", "D", "detach", "D", "leave the run going, and the screen", "run"),
    Key("quit", "q", "quit_run", "q", "quit", "run", "quit"),
)

MOVE_KEYS: tuple[Key, ...] = (
    Key("down", "j,down", "down", "j ↓", "a line down", "move"),
    Key("up", "k,up", "up", "k ↑", "a line up", "move"),
    Key("page_down", "pagedown", "page_down", "PgDn", "a page down", "move"),
    Key("page_up", "pageup", "page_up", "PgUp", "a page up", "move"),
    Key("top", "home", "top", "Home", "to the first line", "move"),
    Key("bottom", "end", "bottom", "End", "to the last line; follow, in the log", "move"),
)

LOG_KEYS: tuple[Key, ...] = (
    Key("wrap", "w", "wrap", "w", "wrap long lines", "log"),
    Key("timestamps", "T", "timestamps", "T", "times of the lines", "log"),
    Key("level", "v", "level", "v", "least level: all, info, warnings, errors", "log"),
    Key("this_try", "a", "this_try", "a", "one try alone, and all again", "log"),
    Key("search", "slash", "search", "/", "search", "log"),
    Key("next_match", "n", "next_match", "n", "next match", "log"),
    Key("previous_match", "N", "previous_match", "N", "previous match", "log"),
    Key("left", "left", "left", "←", "the line's beginning", "log"),
    Key("right", "right", "right", "→", "the line's end", "log"),
    Key("end_search", "escape", "end_search", "Esc", "end the search", "log"),
)

DETAIL_KEYS: tuple[Key, ...] = (
    Key("follow_link", "enter", "follow_link", "Enter", "go to the task, or the try's log",
        "detail"),
    Key("leave", "escape", "leave", "Esc", "back to the tree", "detail"),
)

GRAPH_KEYS: tuple[Key, ...] = (
    Key("graph_left", "left", "graph_left", "←", "to what it waits for", "graph"),
    Key("graph_right", "right", "graph_right", "→", "to what waits for it", "graph"),
    Key("graph_open", "enter", "follow_link", "Enter", "go to the task", "graph"),
    Key("graph_leave", "escape", "leave", "Esc", "back to the tree", "graph"),
)

TIMELINE_KEYS: tuple[Key, ...] = (
    Key("earlier", "left,h", "earlier", "←", "earlier", "timeline"),
    Key("later", "right,l", "later", "→", "later", "timeline"),
    Key("lane_up", "up,k", "lane_up", "k ↑", "a lane up", "timeline"),
    Key("lane_down", "down,j", "lane_down", "j ↓", "a lane down", "timeline"),
    Key("page_earlier", "pageup", "page_earlier", "PgUp", "half a screen earlier", "timeline"),
    Key("page_later", "pagedown", "page_later", "PgDn", "half a screen later", "timeline"),
    Key("time_in", "plus,equals_sign", "time_in", "+", "less time in sight", "timeline"),
    Key("time_out", "minus", "time_out", "-", "more time in sight", "timeline"),
    Key("time_all", "home", "time_all", "Home", "the whole run", "timeline"),
    Key("time_now", "end", "time_now", "End", "follow the present", "timeline"),
    Key("worse", "n", "worse(1)", "n", "next failure in time", "timeline"),
    Key("worse_back", "N", "worse(-1)", "N", "previous failure in time", "timeline"),
    Key("choose", "enter", "choose", "Enter", "to the task of the attempt", "timeline"),
)

TRAVEL_KEYS: tuple[Key, ...] = (
    Key("step_back", "comma", "step(-1)", ",", "a change back in time", "travel"),
    Key("step_on", "full_stop", "step(1)", ".", "a change on in time", "travel"),
    Key("leap_back", "less_than_sign", "leap(-1)", "<", "5 % of the run back", "travel"),
    Key("leap_on", "greater_than_sign", "leap(1)", ">", "5 % of the run on", "travel"),
    Key("tenth_0", "0", "tenth(0)", "0 … 9", "to 0 %, 10 % … 90 % of the run", "travel"),
    *(Key(f"tenth_{n}", str(n), f"tenth({n})", "", f"to {n * 10} % of the run", "travel")
      for n in range(1, 10)),
)

TREE_OWN_KEYS: tuple[Key, ...] = (
    Key("expand", "right,plus", "expand", "→ +", "expand", "move"),
    Key("collapse", "left,minus", "collapse", "← -", "collapse, or to the parent", "move"),
    Key("expand_all", "asterisk", "expand_all", "*", "expand all, and back", "move"),
    Key("back", "left_square_bracket", "back", "[", "back to the row before the jump", "move"),
    Key("forth", "right_square_bracket", "forth", "]", "forth again", "move"),
)

ALL_KEYS = (*RUN_KEYS, *MOVE_KEYS, *LOG_KEYS, *DETAIL_KEYS, *TIMELINE_KEYS, *TRAVEL_KEYS,
            *TREE_OWN_KEYS, *GRAPH_KEYS)

GROUPS = ("move", "find", "select", "act", "inspect", "log", "detail", "timeline", "travel",
          "graph", "out", "view", "run")


def bindings(keys: tuple[Key, ...]) -> list[BindingType]:
    """The table as Textual's bindings."""
    return [Binding(key.keys, key.action, key.text, id=key.id, show=bool(key.bar))
            for key in keys]


def keymap_file() -> Path:
    """Where a person's own keys are."""
    import click

    return Path(click.get_app_dir("flowforge", force_posix=False)) / "keys.toml"


def read_keymap(file: Path) -> tuple[Mapping[str, str], str]:
    """(id → keys, what is wrong with the file): `retry = "ctrl+r,r"`, a line each."""
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        return {}, f"{file} is left out: {error}"
    known = {key.id for key in ALL_KEYS}
    good = {name: keys for name, keys in data.items() if name in known and isinstance(keys, str)}
    wrong = [name for name in data if name not in good]
    if wrong:
        return good, f"{file}: unknown or no text: {', '.join(wrong)}; the help (?) has the ids"
    return good, ""
