"""One browser tab: a `flowforge` of its own, and what passes between the two.

Rule 1: the tab's end is the program's: it is told to quit, and its input is closed. A run that
        it hosts is stopped, to be resumed; one that it is attached to goes on.
Rule 2: what the program writes is read to its end, though the tab be gone: a program that
        cannot write cannot end.
Rule 3: the program is in a session of its own, so that Ctrl-C at the server reaches the server
        alone, and what it says when it has ended goes to the tab.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO

from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

from flowforge_tui.guard import RESTORE
from flowforge_tui.safe_text import safe

#: The line that says: from here on, packets.
_READY = b"__GANGLION__\n"

#: Bytes of the program's last words that are shown.
_WORDS = 20_000

#: The largest window, in columns and rows: a browser's window has some hundreds.
_LARGEST = 1000

#: Seconds after which a tab that does not answer counts as closed.
_HEARTBEAT = 15.0


class Session(AppService):
    """A program that is shown in a tab, with textual-serve's packets between them."""

    def __init__(self, command: Sequence[str], socket: web.WebSocketResponse) -> None:
        super().__init__(
            shlex.join(command), write_bytes=self._show, write_str=self._tell,
            close=self._close, download_manager=DownloadManager(),
        )
        self._argv = list(command)
        self._socket = socket
        self._words: BinaryIO
        self.ended = asyncio.Event()
        """Set when the program has ended."""

    # -- the life of a session ------------------------------------------------------------------

    async def live(self, width: int, height: int) -> None:
        """Start the program, and pass on what the two say until both have ended."""
        with tempfile.TemporaryFile() as self._words:
            try:
                process = await self._open_app_process(_fitting(width), _fitting(height))
                listening = asyncio.create_task(self._listen())
                await self._relay(process.stdout)
                await process.wait()
                await self._say_last_words()
                await self._socket.close()
                await listening
            finally:
                await self.leave()
                self.ended.set()

    async def leave(self) -> None:
        """Have the program end in the ordinary way."""
        if self._stdin is not None and not self.ended.is_set():
            await self.send_meta({"type": "quit"})
            self._stdin.close()

    def kill(self) -> None:
        """End the program at once. Its run can be resumed, as after any crash."""
        if self._process is not None and not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def _open_app_process(
        self, width: int = 80, height: int = 24
    ) -> asyncio.subprocess.Process:
        """As the base class does it, without a shell."""
        self._process = process = await asyncio.create_subprocess_exec(
            *self._argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=self._words, env=self._build_environment(width, height),
            start_new_session=True,
        )
        self._stdin = process.stdin
        return process

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        """As the base class makes it, at Textual's own frame rate, in UTF-8."""
        environment: dict[str, str] = super()._build_environment(width, height)
        del environment["TEXTUAL_FPS"]
        return environment

    # -- from the program to the tab ------------------------------------------------------------

    async def _relay(self, output: asyncio.StreamReader | None) -> None:
        assert output is not None
        with suppress(asyncio.IncompleteReadError):
            while await output.readuntil() != _READY:
                pass
            while True:
                kind = await output.readexactly(1)
                size = int.from_bytes(await output.readexactly(4), "big")
                payload = await output.readexactly(size)
                if kind == b"D":
                    await self.on_data(payload)
                elif kind == b"M":
                    await self.on_meta(payload)

    async def on_meta(self, data: bytes) -> None:
        """What the program says about itself: links to open, and that the screen has closed."""
        meta = json.loads(data)
        if meta["type"] == "exit":
            # The program may still wait for its run to stop, and has then something to say.
            await self._show(RESTORE.encode())
        elif meta["type"] == "open_url" and str(meta["url"]).startswith(("https:", "http:")):
            await super().on_meta(data)

    async def _say_last_words(self) -> None:
        self._words.seek(max(0, self._words.seek(0, os.SEEK_END) - _WORDS))
        text = safe(self._words.read().decode("utf-8", "replace"))
        await self._show(text.replace("\n", "\r\n").encode())

    async def _show(self, data: bytes) -> None:
        with suppress(ConnectionError):
            await self._socket.send_bytes(data)

    async def _tell(self, text: str) -> None:
        with suppress(ConnectionError):
            await self._socket.send_str(text)

    async def _close(self) -> None:
        await self._socket.close()

    # -- from the tab to the program ------------------------------------------------------------

    async def _listen(self) -> None:
        """Until the tab is closed."""
        try:
            async for message in self._socket:
                if message.type == WSMsgType.TEXT:
                    await self._hear(json.loads(message.data))
        except (ValueError, TypeError, LookupError, AttributeError):
            await self._socket.close(code=1003)  # nothing that our page says
        finally:
            await self.leave()

    async def _hear(self, said: Any) -> None:
        match said:
            case ["stdin", str(keys)]:
                await self.send_bytes(keys.encode("utf-8", "replace"))
            case ["resize", {"width": int(width), "height": int(height)}]:
                await self.set_terminal_size(_fitting(width), _fitting(height))
            case ["ping", str(number)]:
                await self._tell(json.dumps(["pong", number]))
            case ["blur"]:
                await self.blur()
            case ["focus"]:
                await self.focus()
            case _:
                raise ValueError("not one of the page's messages")


def new_socket() -> web.WebSocketResponse:
    """The server's end of a tab's websocket."""
    return web.WebSocketResponse(heartbeat=_HEARTBEAT)


def _fitting(cells: int) -> int:
    return max(1, min(cells, _LARGEST))
