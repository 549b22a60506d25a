"""The server behind `flowforge serve`: a page, its files, and a websocket for each tab.

Rule 1: the gate judges every request first, whatever it asks for.
Rule 2: a page loads nothing from elsewhere, can be shown in no other site's frame, and does not
        tell other sites where it was.
Rule 3: nothing is logged of a request: its address may hold the token.
Rule 4: the server ends when all sessions have ended; asked twice, it kills them.
"""

from __future__ import annotations

import asyncio
import html
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import textual_serve
from aiohttp import web

from flowforge_tui.browser.gate import Gate, origin_of
from flowforge_tui.browser.session import Session, new_socket

#: Our page, and textual-serve's terminal for it.
_PAGE = Path(__file__).parent / "page"
_TERMINAL = Path(textual_serve.__file__).parent / "static"

#: Styles are also set by the terminal's own script, in the page.
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
           "font-src 'self'; img-src 'self' data:; connect-src 'self'; "
           "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")

#: Seconds that open connections have to end by themselves once all sessions have.
_GOODBYE = 2.0

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Server:
    """Starts `command` for every tab that opens the page."""

    def __init__(self, command: Sequence[str], host: str, port: int) -> None:
        """`host`: the address to listen on. Port 0: any that is free."""
        self.gate = Gate(host)
        self.sessions: set[Session] = set()
        self._command, self._host, self._port = command, host, port
        self._stop = asyncio.Event()

    # -- its life -----------------------------------------------------------------------------

    async def run(self, ready: Callable[[str], None], say: Callable[[str], None]) -> None:
        """Serve until a signal ends it; `ready` is told the address that lets a person in.

        `say` tells what comes of it. Raises OSError if it cannot listen there.
        """
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_GOODBYE)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            self._port = runner.addresses[0][1]
            self._heed_signals()
            ready(f"{origin_of(self._host, self._port)}/?token={self.gate.token}")
            await self._stop.wait()
            await site.stop()
            await self._end_sessions(say)
        finally:
            await runner.cleanup()

    def _heed_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self._stop.is_set():
            for session in self.sessions:
                session.kill()
        self._stop.set()

    async def _end_sessions(self, say: Callable[[str], None]) -> None:
        living = list(self.sessions)
        if living:
            say(f"ending {len(living)} {'session' if len(living) == 1 else 'sessions'}; "
                "runs they host can be resumed (Ctrl-C again kills them)")
        await asyncio.gather(*(session.leave() for session in living))
        await asyncio.gather(*(session.ended.wait() for session in living))

    # -- what it answers ------------------------------------------------------------------------

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[web.middleware(self._checked())])
        app.add_routes([
            web.get("/", self._page),
            web.get("/ws", self._websocket),
            web.static("/page", _PAGE),
            web.static("/static", _TERMINAL),
        ])
        app.on_response_prepare.append(_protect)
        return app

    def _checked(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        async def check(
            request: web.Request,
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> web.StreamResponse:
            refusal = self.gate.refusal(
                request.headers, (request.query.get("token"), request.cookies.get(self._cookie)),
                local=_address(request), websocket=request.path == "/ws",
            )
            if refusal is not None:
                return web.Response(status=403, text=f"403: {refusal}\n")
            return await handler(request)

        return check

    @property
    def _cookie(self) -> str:
        """Browsers send a host's cookies to all its ports: each server needs its own name."""
        return f"flowforge-{self._port}"

    async def _page(self, request: web.Request) -> web.StreamResponse:
        text = (_PAGE / "index.html").read_text(encoding="utf-8")
        answer = web.Response(
            text=text.replace("{socket}", html.escape(f"ws://{request.host}/ws")),
            content_type="text/html", headers={"Cache-Control": "no-store"},
        )
        answer.set_cookie(self._cookie, self.gate.token, httponly=True, samesite="Strict")
        return answer

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if self._stop.is_set():
            return web.Response(status=503, text="503: the server is ending\n")
        socket = new_socket()
        await socket.prepare(request)
        session = Session(self._command, socket)
        self.sessions.add(session)
        try:
            await session.live(_number(request, "width", 80), _number(request, "height", 24))
        finally:
            self.sessions.discard(session)
        return socket


async def _protect(request: web.Request, answer: web.StreamResponse) -> None:
    answer.headers["Content-Security-Policy"] = _POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"


def _address(request: web.Request) -> str | None:
    """The address of this machine that a request came in at."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return str(name[0]) if isinstance(name, tuple) else None


def _number(request: web.Request, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else otherwise
