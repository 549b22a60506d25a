from pathlib import Path
from typing import Any

import pytest

from engine import ShellResult, shell, task, workflow
from engine.errors import DefinitionError, DuplicateNameError, HandleError, UnknownOptionError


@task
def path() -> str: ...


def built(body: Any) -> Any:
    return workflow("test")(body).build()


def test_handles_may_be_words_folder_and_environment() -> None:
    def body() -> Any:
        p, d, e = path(), path(), path()
        return shell(
            ["sort", "-o", Path("out"), p, [p["x"]]], cwd=d, env={"E": e}, timeout=3, name="sorted"
        )

    dag = built(body)
    node = dag.nodes[3]
    assert (node.name, node.spec.kind) == ("sorted", "shell")
    assert list(node.upstream) == [0, 1, 2]
    assert node.spec.options.timeout == 3.0
    assert node.spec.source == ["sort", "-o", "out", "{}", "{}"]
    assert set(node.kwargs) == {"cwd", "env"}


def test_nodes_are_named_after_the_program() -> None:
    def body() -> None:
        shell("ls -l")
        shell("ls | wc")
        shell(["/usr/bin/sort", "x"])
        shell([path()])

    assert [n.name for n in built(body).nodes] == ["ls", "ls-2", "sort", "path", "shell"]


def test_when_and_order_work_as_for_tasks() -> None:
    def body() -> None:
        ok = path()
        shell("true", when=ok) >> shell("false")

    assert [list(n.upstream) for n in built(body).nodes] == [[], [0], [1]]


def test_wrong_uses_are_errors() -> None:
    with pytest.raises(UnknownOptionError, match="'timeout'"):
        shell("ls", timeuot=3)
    with pytest.raises(DefinitionError, match="grace"):
        shell("ls", grace=-1)
    for nothing in ("", "  ", [], 3):
        with pytest.raises(DefinitionError, match=r"command|string or a list"):
            shell(nothing)  # type: ignore[arg-type]
    with pytest.raises(HandleError, match=r'shell\(\["cmd", handle\]\)'):
        built(lambda: shell(path()))
    with pytest.raises(HandleError, match="shell"):
        built(lambda: shell(f"cat {path()}"))

    def twice() -> None:
        shell("ls", name="x")
        shell("ls", name="x")

    with pytest.raises(DuplicateNameError):
        built(twice)


def test_outside_a_workflow_the_command_runs() -> None:
    result = shell("echo hello")
    assert isinstance(result, ShellResult) and result.stdout == "hello\n"
