"""Outlines: what of a graph is stored with a run."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgpack
import pytest

from engine.core.dag import Dag
from engine.core.nodes import MapInfo
from engine.core.tasks import TaskOptions, TaskSpec
from engine.errors import StorageError
from engine.runtime.outline import Outline, item_digests
from engine.state.canonical import digest


def f(*args: Any, **kwargs: Any) -> None: ...
def g(*args: Any, **kwargs: Any) -> None: ...


F, G = TaskSpec("f", f), TaskSpec("g", g, TaskOptions(trigger_rule="all_done", persist=False))

#: Per call in the test that names them: as stored by every version of this format.
DIGESTS = [
    "89b43240fe814118", "4ed4976b37f7c7f6", "829c975a2698cd20", "4d56c0bfc41dcb6a",
    "4d56c0bfc41dcb6a", "66a4cee65c6621d0", "a5d0dc54cd0ab5f0", "9ea9ba62b81361b6",
    "1cca9e493708afb5", "be60d143006e70cb", "025928354f6bfee4", "2f0c76092333e83a",
]
LITERAL = "79c8e991f063a59e"


def stored(outline: Outline) -> Outline:
    data = msgpack.packb(outline.to_data())
    return Outline.from_data(msgpack.unpackb(data, strict_map_key=False))


def digest_of(*args: Any, **kwargs: Any) -> int:
    dag = Dag("w")
    dag.add(F, args, kwargs)
    return Outline.of(dag.freeze()).digests[0]


def test_the_columns() -> None:
    dag = Dag("w")
    a = dag.add(F, (1,))
    b = dag.add(F, (2,), group="inner")
    c = dag.add(G, (b.handle, a.handle["k"]), name="named")
    d = dag.add(G, (c.handle,))
    d.wait_for(b)
    d.wait_for(a)
    o = Outline.of(dag.freeze())
    assert o.name == "w" and o.size == 4
    assert o.names == ["f", "inner/f", "named", "g"]
    assert [o.groups[i] for i in o.group_of] == ["", "inner", "", ""]
    assert [bool(x) for x in o.auto] == [True, True, False, True]
    assert [list(o.upstream_of(i)) for i in range(4)] == [[], [], [1, 0], [2, 0, 1]]
    assert list(o.needs) == [0, 0, 2, 1]
    assert [o.spec(i).name for i in range(4)] == ["f", "f", "g", "g"] and len(o.specs) == 2
    assert o.spec(2).trigger_rule == "all_done" and o.spec(2).persist is False
    assert "function" in o.spec(0).parts


def test_storing_changes_nothing() -> None:
    dag = Dag("w")
    xs = dag.add(F, name="\ud800 näme\n\0")
    m = dag.add(F, mapped=MapInfo({0: xs.handle}, key=str))
    dag.add(G, (3,), {"y": xs.handle}, mapped=MapInfo({"x": m.handle, "z": [1, 2]}, barrier=True))
    o = Outline.of(dag.freeze())
    data = msgpack.unpackb(
        msgpack.packb(o.to_data(), unicode_errors="surrogatepass"), strict_map_key=False,
        unicode_errors="surrogatepass")
    back = Outline.from_data(data)
    assert back.same_as(o) and o.same_as(back)
    assert back.maps == o.maps and back.specs == o.specs


def test_any_difference_is_a_difference() -> None:
    def made(value: int = 1, name: str | None = None, spec: TaskSpec = F) -> Outline:
        dag = Dag("w")
        dag.add(spec, (value,), name=name)
        return Outline.of(dag.freeze())

    assert made().same_as(made())
    for other in (made(2), made(name="other"), made(spec=G)):
        assert not made().same_as(other)


@pytest.mark.parametrize("data", [
    {}, {"format": 99}, {"format": 1}, {"format": 2}, {"format": 1, "name": "w", "names": 3},
])
def test_damaged_data_is_a_storage_error(data: dict[str, Any]) -> None:
    with pytest.raises(StorageError, match=r"--fresh|version"):
        Outline.from_data(data)


def test_columns_that_do_not_fit_are_a_storage_error() -> None:
    dag = Dag("w")
    dag.add(F, (dag.add(F).handle,))
    data = Outline.of(dag.freeze()).to_data()
    for damage in ({"names": ["f"]}, {"digests": b"x"}, {"upstream": b"\xff\xff\0\0"},
                   {"offsets": b"abc"}, {"specs": []}, {"groups": []}):
        with pytest.raises(StorageError, match="damaged"):
            Outline.from_data({**data, **damage})


def test_equal_arguments_have_equal_digests_and_others_not() -> None:
    assert digest_of(1, "a", k=[1]) == digest_of(1, "a", k=[1])
    assert digest_of(k=1, j=2) == digest_of(j=2, k=1)
    different = [digest_of(), digest_of(1), digest_of(2), digest_of(1.0), digest_of(True),
                 digest_of("1"), digest_of(x=1), digest_of((1,)), digest_of([1]), digest_of(None)]
    assert len(set(different)) == len(different)


def test_an_argument_that_cannot_be_stored_has_a_digest() -> None:
    assert digest_of(threading.Lock()) == digest_of(threading.Lock())
    assert digest_of({1, 2}) == digest_of({2, 1})


def test_a_function_as_argument_counts_by_its_code() -> None:
    assert digest_of(lambda x: x) == digest_of(lambda x: (x))
    assert digest_of(lambda x: x) != digest_of(lambda x: -x)


def test_what_is_read_counts_by_place_and_path_not_by_name() -> None:
    def made(extra: int, use: Any) -> int:
        dag = Dag("w")
        for _ in range(extra):
            dag.add(F)
        a, b = dag.add(F).handle, dag.add(F).handle
        use(dag, a, b)
        return Outline.of(dag.freeze()).digests[extra + 2]

    uses = [
        lambda d, a, b: d.add(G, (a, b)),
        lambda d, a, b: d.add(G, (a, a)),
        lambda d, a, b: d.add(G, (a,)),
        lambda d, a, b: d.add(G, ([a], b)),
        lambda d, a, b: d.add(G, (a["k"],)),
        lambda d, a, b: d.add(G, (a.attr("k"),)),
        lambda d, a, b: d.add(G, (a["k"]["l"],)),
        lambda d, a, b: d.add(G, (a,), {"x": b}),
        lambda d, a, b: d.add(G, (a,), when=b),
        lambda d, a, b: d.add(G, (a, b, 1)),
    ]
    assert len({made(0, use) for use in uses}) == len(uses)
    for use in uses:
        assert made(0, use) == made(3, use)


def test_an_edge_of_order_is_not_read_even_where_a_result_is_read_twice() -> None:
    def made(*, after: bool) -> tuple[list[int], int, int]:
        dag = Dag("w")
        a, b = dag.add(F), dag.add(F)
        args = (a.handle, a.handle)
        c = dag.call(G, args, args, "")
        if after:
            c.wait_for(b)
        o = Outline.of(dag.freeze())
        return list(o.upstream_of(2)), o.needs[2], o.digests[2]

    assert made(after=True) == ([0, 1], 1, made(after=False)[2])


def test_a_block_task_may_be_bound_to_a_later_one() -> None:
    dag = Dag("w")
    a, b = dag.add(F), dag.add(G)
    a.wait_for(b)
    a.bind((b.handle,), {}, [b.handle])
    o = Outline.of(dag.freeze())
    assert list(o.upstream_of(0)) == [1] and o.needs[0] == 1


def test_literal_maps_have_one_digest_apart_from_the_template() -> None:
    def made(values: Any, fixed: int = 1) -> Outline:
        dag = Dag("w")
        dag.add(F, (fixed,), mapped=MapInfo({"x": values}))
        return Outline.of(dag.freeze())

    o = made([1, 2, 3])
    assert o.digests[0] == made([1, 2]).digests[0] != made([1, 2], 5).digests[0]
    assert o.maps[0].literal == made([1, 2, 3]).maps[0].literal != made([1, 2]).maps[0].literal
    assert made(range(3)).maps[0].literal != b""


def test_what_a_map_is_over() -> None:
    dag = Dag("w")
    xs = dag.add(F)
    m = dag.add(F, mapped=MapInfo({0: xs.handle}))
    n = dag.add(G, (xs.handle,), mapped=MapInfo({"x": m.handle}, key=str))
    dag.add(G, mapped=MapInfo({"x": m.handle, "y": [n.handle, 1]}, barrier=True))
    o = Outline.of(dag.freeze())
    assert o.maps[1][:3] == ((0,), (), ()) and o.maps[1].literal == b""
    assert o.maps[2][:3] == ((1,), (1,), (0,)) and o.maps[2].key and not o.maps[2].barrier
    assert o.maps[3].over == (1, 2) and o.maps[3].sources == () and o.maps[3].barrier


def test_item_digests_tell_values_apart() -> None:
    digests = item_digests([1, 1.0, "1", (1,), [1], 1])
    assert digests[0] == digests[5] and len(set(digests)) == 5
    assert item_digests(range(3)) == item_digests([0, 1, 2])


def test_a_hundred_thousand_nodes_are_quick_and_small() -> None:
    dag = Dag("w")
    first = [dag.add(F, (i, "a")).handle for i in range(50_000)]
    for i in range(50_000):
        dag.add(G, (first[i], first[i - 1], first[i - 2]))
    graph = dag.freeze()
    began = time.process_time()
    o = Outline.of(graph)
    assert time.process_time() - began < 2.0  # 0.2 s where nothing else runs
    assert len(msgpack.packb(o.to_data())) < 6_000_000
    assert stored(o).same_as(o)


def test_the_digests_of_every_kind_of_call_stay_what_stored_runs_have() -> None:
    dag = Dag("w")
    a, b = dag.add(F, (1, "x", None, 2.5, b"y", True)).handle, dag.add(F).handle
    dag.add(F, (a,))
    dag.add(G, (a, b))
    dag.add(G, (b, a), group="inner").wait_for(dag.nodes[2])
    dag.add(G, (a, a))
    dag.add(G, (a, b["k"].attr("n"), 3), {"y": [b]})
    dag.add(F, ([1, (2, {"k": a})],))
    dag.add(F, (), {"x": 1})
    dag.add(F, (1,), when=b)
    dag.add(F, (a,), mapped=MapInfo({"x": b, "y": [1, 2]}))
    dag.add(F, (1,)).wait_for(dag.nodes[0])
    o = Outline.of(dag.freeze())
    assert [f"{x:016x}" for x in o.digests] == DIGESTS
    assert list(o.upstream) == [0, 0, 1, 1, 0, 2, 0, 0, 1, 0, 1, 0, 1, 0]
    assert list(o.needs) == [0, 0, 1, 2, 2, 1, 2, 1, 0, 1, 2, 0]
    assert o.maps[10].literal.hex() == LITERAL


@pytest.mark.parametrize(
    "number", [0, 1, -1, 10_000, 2**63 - 1, -(2**63), 2**63, 2**64, -(2**63) - 1])
def test_a_number_alone_is_kept_as_it_is_and_digested_when_somebody_asks(number: int) -> None:
    dag = Dag("w")
    first = dag.add(F, (number,)).handle
    dag.add(F, (number,)).wait_for(first.node)
    dag.add(F, (number + 1,))
    dag.add(F, (number == 1,))
    o = Outline.of(dag.freeze())
    fits = -(2**63) <= number < 2**63
    assert list(o.numeric[:2]) == [fits, fits]
    assert o.numeric[3] == 0
    assert o.upstream_of(1).tolist() == [0] and o.needs[1] == 0
    assert o.digests[0] == o.digests[1] == value_of(repr((number,)))
    assert len({o.digests[0], o.digests[2], o.digests[3]}) == 3
    again = stored(o)
    assert again.to_data() == o.to_data()
    assert again.same_as(o)


def value_of(text: str) -> int:
    return int.from_bytes(digest(text.encode()), "little")


def test_an_outline_stored_when_numbers_were_digested_says_the_same() -> None:
    dag = Dag("w")
    dag.add(F, (7,))
    o = Outline.of(dag.freeze())
    data = o.to_data()
    assert any(data.pop("numeric"))
    word = value_of("(7,)").to_bytes(8, "little")
    old = Outline.from_data({**data, "format": 1, "digests": word})
    assert old.same_as(o) and not any(old.numeric)


def test_a_result_read_twice_is_no_reading_of_what_is_only_waited_for() -> None:
    dag = Dag("w")
    a, b = dag.add(F).handle, dag.add(F).handle
    dag.add(G, (a, a)).wait_for(b.node)
    dag.add(G, (a, b))
    o = Outline.of(dag.freeze())
    assert list(o.needs) == [0, 0, 1, 2]
    assert o.digests[2] != o.digests[3]
