"""The screen in a browser: a real server, spoken to as browsers and as strangers speak to it."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pyte
import pytest

aiohttp = pytest.importorskip("aiohttp", reason="pip install 'flowforge[serve]'")
pytest.importorskip("textual_serve", reason="pip install 'flowforge[serve]'")

from flowforge_tui.browser.gate import Gate  # noqa: E402
from flowforge_tui.guard import RESTORE  # noqa: E402
from tests.cli.flows import GATE, PIPE, ROOT, Place  # noqa: E402
from tests.screens.pty_terminal import PATIENCE, without_unknown  # noqa: E402
from tests.waiting import wait_for  # noqa: E402

pytestmark = pytest.mark.fault(54)

#: Notes every Python process that is started with it on its path.
_NOTES = """
import os, sys
with open(os.environ["NOTES"], "a") as notes:
    notes.write(" ".join(sys.orig_argv) + "\\n")
"""

#: Writes to every standard output there is what would be half a packet.
_NOISY = """
import os, subprocess, sys
from pathlib import Path
from engine import current, task, workflow

@task
def noise():
    os.write(1, b"M\\xff\\xff\\xff\\xff")
    sys.__stdout__.write("D")
    sys.__stdout__.flush()
    subprocess.run(["printf", "M\\\\377\\\\377\\\\377\\\\377"])
    Path("env").write_text(os.environ.get("TEXTUAL_DRIVER", "not told"))
    return "the answer"

@workflow
def noisy():
    return noise()
"""


#: Does not heed that it is to stop.
_STUBBORN = """
import time
from pathlib import Path
from engine import task, workflow

@task
def stub():
    Path("waiting").touch()
    time.sleep(1000)

@workflow
def stubborn():
    return stub()
"""


class Served:
    """A `flowforge serve` on a free port."""

    def __init__(self, path: Path, *arguments: str) -> None:
        self.place = Place(path)
        for name, text in (("pipe.py", PIPE), ("gate.py", GATE), ("noisy.py", _NOISY),
                           ("stubborn.py", _STUBBORN)):
            self.place.write(name, text)
        (path / "site").mkdir(exist_ok=True)
        self.place.write("site/sitecustomize.py", _NOTES)
        self._notes = path / "notes"
        self._notes.write_text("")
        env = {k: v for k, v in self.place.env.items() if k not in ("CI", "NO_COLOR")}
        env |= {"PYTHONPATH": f"{path / 'site'}{os.pathsep}{ROOT}", "NOTES": str(self._notes)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flowforge_tui", "serve", "--port", "0", *arguments],
            cwd=path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], PATIENCE)[0], "no address came"
        self.url = next(w for w in self.process.stdout.readline().split() if w.startswith("http"))
        self.origin, _, self.token = self.url.partition("/?token=")
        self.host = self.origin.removeprefix("http://")

    @property
    def started(self) -> list[str]:
        """The commands of the Python processes so far, the server's first."""
        return self._notes.read_text().splitlines()

    def child(self) -> psutil.Process:
        """The program of the only tab."""
        (found,) = psutil.Process(self.process.pid).children()
        return found

    def newest(self) -> dict[str, Any]:
        """The newest run, as `flowforge runs` has it."""
        found: dict[str, Any] = json.loads(self.place.do("runs", "--json").stdout)[0]
        return found

    def end(self) -> int:
        """Wait for the server's end, and return its exit code."""
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a server in a directory with some flow files."""
    made: list[Served] = []

    def start(*arguments: str) -> Served:
        made.append(Served(tmp_path, *arguments))
        return made[-1]

    yield start
    for server in made:
        _kill(server)


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that several tests knock at."""
    server = Served(tmp_path_factory.mktemp("served"))
    yield server
    _kill(server)


def _kill(server: Served) -> None:
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(server.process.pid).children(recursive=True)
        server.process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
    server.process.communicate(timeout=PATIENCE)


class Tab:
    """A browser's tab: a websocket, and what it shows."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._screen = pyte.Screen(100, 30)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    async def press(self, keys: str) -> None:
        await self._socket.send_json(["stdin", keys])

    async def wait(self, wanted: str) -> None:
        """Until the screen shows a text."""
        async with self._in_time(wanted):
            while wanted not in self.text:
                assert await self._read(), f"closed before {wanted!r}; the screen is\n{self.text}"

    async def wait_gone(self, unwanted: str) -> None:
        async with self._in_time(f"a screen without {unwanted!r}"):
            while unwanted in self.text:
                assert await self._read(), f"closed with {unwanted!r}"

    async def wait_closed(self) -> None:
        async with self._in_time("the end"):
            while await self._read():
                pass

    @asynccontextmanager
    async def _in_time(self, wanted: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(PATIENCE):
                yield
        except TimeoutError:
            raise AssertionError(f"never came: {wanted}; the screen is\n{self.text}") from None

    async def _read(self) -> bool:
        message = await self._socket.receive()
        if message.type == aiohttp.WSMsgType.BINARY:
            self.written += message.data
            self._stream.feed(without_unknown(message.data))
        return message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT)


@asynccontextmanager
async def opened(server: Served) -> AsyncIterator[Tab]:
    """A tab as a browser opens it: the page at the printed address, then the websocket, which
    is let in by the cookie alone; leaving the block closes it."""
    # A browser's jar; aiohttp's is strict about cookies of addresses unless told otherwise.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
        async with browser.get(server.url) as page:
            assert page.status == 200
            assert f"ws://{server.host}/ws" in await page.text()
        async with browser.ws_connect(
            f"{server.origin}/ws?width=100&height=30", origin=server.origin
        ) as socket:
            yield Tab(socket)


# -- who may not come in ----------------------------------------------------------------------


async def _status(
    server: Served, path: str, headers: dict[str, str], token: str | None = None,
    cookie: str | None = None,
) -> int:
    if cookie is not None:
        headers = {**headers, "Cookie": f"flowforge-{server.host.rpartition(':')[2]}={cookie}"}
    query = {"token": token} if token is not None else {}
    async with aiohttp.ClientSession() as stranger:
        if path != "/ws":
            async with stranger.get(server.origin + path, headers=headers, params=query) as answer:
                return int(answer.status)
        try:
            async with stranger.ws_connect(server.origin + path, headers=headers, params=query):
                return 101
        except aiohttp.WSServerHandshakeError as error:
            return error.status


@pytest.mark.parametrize("path", ["/ws", "/"])
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1",
                                    "https://{host}", "http://{host}.evil.example"])
def test_a_foreign_page_is_refused_before_anything_starts(
    launcher: Served, path: str, origin: str
) -> None:
    headers = {"Origin": origin.format(host=launcher.host)}
    assert asyncio.run(_status(launcher, path, headers, cookie=launcher.token)) == 403
    assert len(launcher.started) == 1


def test_a_websocket_without_origin_is_refused(launcher: Served) -> None:
    assert asyncio.run(_status(launcher, "/ws", {}, token=launcher.token)) == 403
    assert len(launcher.started) == 1


@pytest.mark.parametrize("path", ["/ws", "/", "/page/page.js", "/static/js/textual.js"])
@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example",
                                  "localhost@evil.example", "10.0.0.1:{port}"])
def test_a_foreign_name_for_this_machine_is_refused(
    launcher: Served, path: str, host: str
) -> None:
    """DNS rebinding: for the browser, page and server are of one origin."""
    name = host.format(port=launcher.host.rpartition(":")[2])
    headers = {"Host": name, "Origin": f"http://{name}"}
    assert asyncio.run(_status(launcher, path, headers, token=launcher.token)) == 403
    assert len(launcher.started) == 1


@pytest.mark.parametrize("path", ["/ws", "/", "/page/page.js", "/static/js/textual.js", "/none"])
@pytest.mark.parametrize("shown", [{}, {"token": ""}, {"token": "x" * 43}, {"token": "tökén"},
                                   {"cookie": "x" * 43}])
def test_without_the_token_nobody_comes_in(
    launcher: Served, path: str, shown: dict[str, str]
) -> None:
    headers = {"Origin": launcher.origin}
    assert asyncio.run(_status(launcher, path, headers, **shown)) == 403
    assert len(launcher.started) == 1


def test_with_the_token_files_come_and_no_listing(launcher: Served) -> None:
    def status(path: str) -> int:
        return asyncio.run(_status(launcher, path, {}, token=launcher.token))

    assert status("/static/js/textual.js") == status("/page/page.css") == 200
    assert status("/static/") == status("/page/") == status("/static/js") == 403
    assert status("/page/%2e%2e/server.py") == 404
    assert len(launcher.started) == 1


@pytest.mark.parametrize("host, name, local, fits", [
    ("127.0.0.1", "localhost:8000", "127.0.0.1", True),
    ("127.0.0.1", "LOCALHOST", "127.0.0.1", True),
    ("127.0.0.1", "localhost:9000", "127.0.0.1", True),  # ssh -L 9000:localhost:8000
    ("127.0.0.1", "[::1]:8000", "::1", True),
    ("127.0.0.1", "[::1]:8000:1", "::1", False),
    ("127.0.0.1", "", "127.0.0.1", False),
    ("0.0.0.0", "192.0.2.7:8000", "192.0.2.7", True),
    ("0.0.0.0", "192.0.2.8:8000", "192.0.2.7", False),
    ("0.0.0.0", "evil.example:8000", "192.0.2.7", False),
    ("box.example", "box.example:8000", "192.0.2.7", True),
])
def test_names_that_fit(host: str, name: str, local: str, fits: bool) -> None:
    gate = Gate(host)
    headers = {"Host": name, "Origin": f"http://{name.lower()}"}
    refusal = gate.refusal(headers, (None, gate.token), local=local, websocket=True)
    assert (refusal is None) == fits


# -- who may ------------------------------------------------------------------------------------


def test_the_printed_address_opens_the_screen(serve: Serve) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await tab.wait("pipe.py")
            assert tab.written.startswith(b"\x1b[?1049h")
            assert len(server.started) == 2 and server.started[1].endswith("-m flowforge_tui")
            child = server.child()
            await tab.press("?")
            await tab.wait("a line down")
            await tab.press("q")
            await tab.wait_gone("a line down")
            await tab.press("q")
            await tab.wait_closed()
            assert not child.is_running()

    server = serve()
    asyncio.run(look())
    server.process.send_signal(signal.SIGINT)
    assert server.end() == 0


def test_the_cookie_is_kept_from_scripts_and_other_sites(launcher: Served) -> None:
    async def visit() -> Any:
        async with aiohttp.ClientSession() as browser, browser.get(launcher.url) as page:
            return page.headers

    headers = asyncio.run(visit())
    assert "HttpOnly" in headers["Set-Cookie"] and "SameSite=Strict" in headers["Set-Cookie"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"


def test_closing_a_tab_stops_its_run_and_opening_it_again_carries_on(serve: Serve) -> None:
    async def leave() -> None:
        async with opened(server) as tab:
            await tab.wait("gate")
            await asyncio.to_thread(server.place.wait_for, "waiting")
            await tab.wait("RUNNING")
            children.append(server.child())

    async def come_back() -> None:
        (server.place.path / "go").touch()
        async with opened(server) as tab:
            await tab.wait("carry on")
            await tab.press("\r")
            await tab.wait("SUCCESS")
            await tab.press("q")
            await tab.wait_closed()
            assert f"gated {server.newest()['run_id']}" in tab.text  # as in a terminal

    server, children = serve("gate.py"), []
    asyncio.run(leave())
    wait_for(lambda: not children[0].is_running(), "the end of the tab's program")
    assert server.newest()["state"] == "INTERRUPTED"
    asyncio.run(come_back())
    assert server.newest()["state"] == "SUCCESS"
    assert server.place.ran() == ["first"]


def test_closing_a_tab_only_leaves_a_run_of_another_process(serve: Serve, tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await tab.wait("gated")
            await tab.wait("RUNNING")
            children.append(server.child())

    place, children = Place(tmp_path), []
    place.write("gate.py", GATE)
    run = place.start("run", "gate.py")
    place.wait_for("waiting")
    server = serve("latest")
    asyncio.run(look())
    wait_for(lambda: not children[0].is_running(), "the end of the tab's program")
    (tmp_path / "go").touch()
    run.communicate(timeout=PATIENCE)
    assert run.returncode == 0


def test_nothing_that_a_task_writes_reaches_the_wire(serve: Serve) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await tab.wait("SUCCESS")
            await tab.press("q")
            await tab.wait_closed()
            # What was kept of it is written when the screen has closed, and is no packet either.
            words = tab.written.rpartition(RESTORE.encode())[2]
            assert rb"M\xff\xff\xff\xff" in words and b"the answer" in words

    server = serve("noisy.py")
    asyncio.run(look())
    assert (server.place.path / "env").read_text() == "not told"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_servers_end_is_that_of_its_tabs(serve: Serve, number: int) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await asyncio.to_thread(server.place.wait_for, "waiting")
            await tab.wait("RUNNING")
            children.append(server.child())
            server.process.send_signal(number)
            with suppress(ConnectionError):
                await tab.wait_closed()

    server, children = serve("gate.py"), []
    asyncio.run(look())
    assert server.end() == (-number if number == signal.SIGKILL else 0)
    wait_for(lambda: not children[0].is_running(), "the end of the tab's program")
    assert server.newest()["state"] == "INTERRUPTED"


def test_asked_twice_the_server_waits_for_no_task(serve: Serve) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await asyncio.to_thread(server.place.wait_for, "waiting")
            children.append(server.child())
            server.process.send_signal(signal.SIGINT)
            said = await asyncio.to_thread(server.process.stderr.readline)
            assert "Ctrl-C again" in said
            assert children[0].is_running()
            server.process.send_signal(signal.SIGINT)
            await tab.wait_closed()

    server, children = serve("stubborn.py", "--grace", "300"), []
    asyncio.run(look())
    assert server.end() == 0
    assert not children[0].is_running()
    assert server.newest()["state"] == "INTERRUPTED"


def test_a_screen_with_nothing_to_say_ends_with_a_killed_server(serve: Serve) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await tab.wait("pipe.py")
            children.append(server.child())
            server.process.kill()
            with suppress(ConnectionError):
                await tab.wait_closed()

    server, children = serve(), []
    asyncio.run(look())
    wait_for(lambda: not children[0].is_running(), "the end of the tab's program")


def test_what_is_wrong_is_shown_in_the_tab(serve: Serve, tmp_path: Path) -> None:
    async def look() -> None:
        async with opened(server) as tab:
            await tab.wait_closed()
            assert "flowforge attach" in tab.text

    place = Place(tmp_path)
    place.write("gate.py", GATE)
    run = place.start("run", "gate.py")
    place.wait_for("waiting")
    server = serve("gate.py")
    asyncio.run(look())
    (tmp_path / "go").touch()
    run.communicate(timeout=PATIENCE)


# -- how it is called -----------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, said", [
    (("none.py",), "There is no file none.py"),
    (("gate.py", "--headless"), "--headless leaves nothing"),
    (("gate.py", "--nonsense"), "--nonsense"),
    (("-j", "8"), "No such option: -j"),
    (("latest",), "no run"),
    (("--host", "192.0.2.1", "gate.py"), "choose others with --host and --port"),
])
def test_what_no_tab_could_show_is_told_at_once(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    place = Place(tmp_path)
    place.write("gate.py", GATE)
    assert said.lower() in place.do("serve", *arguments, code=2).stderr.lower()


def test_a_missing_package_is_one_message(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.write("textual_serve.py", "raise ModuleNotFoundError(name='textual_serve')\n")
    place.env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
    error = place.do("serve", code=2).stderr
    assert "pip install 'flowforge[serve]'" in error and "Traceback" not in error
