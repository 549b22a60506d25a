"""Finding workflows without running files, loading a file, choosing a workflow in it."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import cloudpickle
import pytest

from engine.errors import DuplicateNameError, LoadError
from engine.runtime.find import Found
from engine.runtime.load import choose, find_workflows, load_flow, workflows_in
from engine.worker import classes

FLOW = """
from engine import task, workflow

class Row: ...

@task
def one(): return 1

@workflow
def pipeline(): return one()
"""


@pytest.fixture(autouse=True)
def _as_before(tmp_path: Path) -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES.discard(name)
            del sys.modules[name]
    classes.set_flow_module("__main__")


def put(folder: Path, text: str, name: str = "flow.py") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_the_guarded_part_does_not_run_and_neighbours_are_importable(tmp_path: Path) -> None:
    put(tmp_path, "VALUE = 3\n", "beside_it.py")
    module = load_flow(put(
        tmp_path, "import beside_it\nv = beside_it.VALUE\nif __name__ == '__main__':\n    1 / 0\n"))
    assert module.v == 3
    assert module.__name__ == "flow" and sys.modules["flow"] is module
    assert module.__file__ == str(tmp_path / "flow.py")


def test_an_edit_within_the_second_and_of_the_same_size_is_seen(tmp_path: Path) -> None:
    file = put(tmp_path, "x = 1\n")
    assert load_flow(file).x == 1
    assert load_flow(put(tmp_path, "x = 2\n")).x == 2
    assert not (tmp_path / "__pycache__").exists()


def test_a_flow_named_like_another_module_does_not_replace_it(tmp_path: Path) -> None:
    import json

    assert load_flow(put(tmp_path, "x = 1\n", "json.py")).__name__ == "flow_json"
    assert sys.modules["json"] is json
    assert load_flow(put(tmp_path, "x = 1\n", "my-flow 2.py")).x == 1


def test_its_functions_travel_by_value_and_its_classes_belong_to_the_flow(tmp_path: Path) -> None:
    module = load_flow(put(tmp_path, FLOW))
    data = cloudpickle.dumps(module.one.spec.fn)
    del sys.modules["flow"]
    assert pickle.loads(data)() == 1
    assert classes.class_ref(module.Row) == "~:Row"


@pytest.mark.parametrize("name, words", [
    ("absent.py", "there is no file"), ("", "is a directory"), ("notes.txt", "ends in .py"),
])
def test_paths_that_cannot_be_loaded(tmp_path: Path, name: str, words: str) -> None:
    put(tmp_path, "", "notes.txt")
    with pytest.raises(LoadError, match=words):
        load_flow(tmp_path / name)


@pytest.mark.parametrize("namesake", ["engine.py", "engine/__init__.py"])
def test_a_file_named_engine_is_one_clear_error(tmp_path: Path, namesake: str) -> None:
    put(tmp_path, "", namesake)
    with pytest.raises(LoadError, match="rename it"):
        load_flow(put(tmp_path, FLOW))


def test_beside_the_engine_itself_a_flow_loads(tmp_path: Path) -> None:
    import engine

    (tmp_path / "engine").symlink_to(Path(engine.__file__).parent)
    assert choose(load_flow(put(tmp_path, FLOW))).name == "pipeline"


def test_an_error_shows_the_users_frames_alone(tmp_path: Path) -> None:
    put(tmp_path, "def go():\n    raise KeyError('gone')\n", "helper_of_it.py")
    file = put(tmp_path, "import helper_of_it\nhelper_of_it.go()\n")
    with pytest.raises(LoadError) as caught:
        load_flow(file)
    text = str(caught.value)
    assert "KeyError: 'gone'" in text and 'flow.py", line 2' in text
    assert 'helper_of_it.py", line 2' in text
    assert "load.py" not in text and "importlib" not in text
    assert isinstance(caught.value.__cause__, KeyError)
    assert "flow" not in sys.modules


def test_an_error_in_an_import_shows_no_import_machinery(tmp_path: Path) -> None:
    put(tmp_path, "import absent_altogether\n", "helper_of_it.py")
    with pytest.raises(LoadError) as caught:
        load_flow(put(tmp_path, "try:\n    1 / 0\nexcept ZeroDivisionError:\n"
                                "    import helper_of_it\n"))
    text = str(caught.value)
    assert "absent_altogether" in text and "ZeroDivisionError" in text and "frozen" not in text


def test_a_syntax_error_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="line 2"):
        load_flow(put(tmp_path, "x = 1\ndef f(:\n"))


@pytest.mark.parametrize("body, error", [
    ("from engine.errors import DuplicateNameError\nraise DuplicateNameError('two')",
     DuplicateNameError),
    ("raise SystemExit(3)", SystemExit),
    ("raise KeyboardInterrupt", KeyboardInterrupt),
])
def test_what_passes_as_it_is(tmp_path: Path, body: str, error: type[BaseException]) -> None:
    with pytest.raises(error):
        load_flow(put(tmp_path, body))


def test_a_failed_load_leaves_the_module_before_in_place(tmp_path: Path) -> None:
    good = load_flow(put(tmp_path, "x = 1\n"))
    with pytest.raises(LoadError):
        load_flow(put(tmp_path, "1 / 0\n"))
    assert sys.modules["flow"] is good


# -- choosing ------------------------------------------------------------------------------------

TWO = FLOW + "\n@workflow\ndef other(): return one()\n"


def test_the_only_workflow_needs_no_name(tmp_path: Path) -> None:
    module = load_flow(put(tmp_path, FLOW))
    assert choose(module) is choose(module, "pipeline") is module.pipeline


def test_of_several_one_must_be_named(tmp_path: Path) -> None:
    module = load_flow(put(tmp_path, TWO))
    assert [w.name for w in workflows_in(module)] == ["pipeline", "other"]
    with pytest.raises(LoadError, match=r"say which: flow\.py:pipeline or flow\.py:other"):
        choose(module)
    assert choose(module, "other") is module.other
    with pytest.raises(LoadError, match="did you mean 'pipeline'"):
        choose(module, "pipelin")
    with pytest.raises(LoadError, match="it has: pipeline, other"):
        choose(module, "zzz")


def test_a_block_is_chosen_by_its_name_or_its_variable(tmp_path: Path) -> None:
    module = load_flow(put(
        tmp_path, FLOW + "with workflow('My Block') as wf:\n    @task\n    def two(): return 2\n"))
    assert choose(module, "My Block") is choose(module, "wf") is module.wf


def test_an_imported_workflow_counts_only_where_there_is_no_other(tmp_path: Path) -> None:
    put(tmp_path, FLOW, "elsewhere_of_it.py")
    alone = load_flow(put(tmp_path, "from elsewhere_of_it import pipeline\n", "a_flow.py"))
    assert choose(alone).name == "pipeline"
    text = "from elsewhere_of_it import *\n@workflow\ndef mine(): return one()\n"
    both = load_flow(put(tmp_path, text, "b_flow.py"))
    assert choose(both).name == "mine"


def test_a_file_without_a_workflow_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="decorate a function with @workflow"):
        choose(load_flow(put(tmp_path, "x = 1\n")))


# -- finding -------------------------------------------------------------------------------------


def test_workflows_are_found_in_every_form_without_running_anything(tmp_path: Path) -> None:
    file = put(tmp_path, """
from engine import workflow as wf, Dag
import engine
import engine.dsl as ff
raise SystemExit("it was run")

@wf
def plain(): ...

@engine.workflow("Given", workers=2)
def named(): ...

@ff.workflow(name="By keyword")
def third(): ...

try:
    with wf("My Workflow") as w:
        ...
    with wf() as unnamed: ...
finally:
    pass

block = wf("assigned")
dag = Dag("classic one")

@staticmethod
def not_one(): ...

if __name__ == "__main__":
    with wf("guarded") as g: ...
""")
    assert find_workflows(tmp_path) == [
        Found(file, "plain", "function"), Found(file, "Given", "function"),
        Found(file, "By keyword", "function"), Found(file, "My Workflow", "block"),
        Found(file, "unnamed", "block"), Found(file, "assigned", "block"),
        Found(file, "classic one", "classic"),
    ]


def test_a_functions_parameters_are_told_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "flows.py"
    file.write_text("""
from engine import workflow

@workflow
def flow(path: str, n=4, /, *rest, mode: Literal["a", "b"] = "a", key, **more): ...

@workflow
def bare(): ...
""")
    flow, bare = find_workflows(tmp_path)
    assert flow.parameters == ("path: str", "n = 4", "mode: Literal['a', 'b'] = 'a'", "key")
    assert bare.parameters == ()


def test_only_the_engines_own_workflow_counts(tmp_path: Path) -> None:
    put(tmp_path, "from prefect import workflow  # not engine\n@workflow\ndef f(): ...\n")
    assert find_workflows(tmp_path) == []


def test_what_is_passed_over(tmp_path: Path) -> None:
    for name in (".hidden/a.py", "venv/a.py", "x/__pycache__/a.py", "mine/b.py", "notes.txt",
                 "1/2/3/4/5/deep.py"):
        put(tmp_path, FLOW, name)
    put(tmp_path, "", "strange/pyvenv.cfg")
    put(tmp_path, FLOW, "strange/a.py")
    put(tmp_path, "from engine import workflow\ndef f(:", "broken.py")
    (tmp_path / "binary.py").write_bytes(b"engine \xff\xfe\x00")
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    put(tmp_path, FLOW + "#" * 1_000_000, "huge.py")
    assert [f.file.name for f in find_workflows(tmp_path)] == ["b.py"]
