"""A product's own site: pages on another origin than ingest's, each nothing but its script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

PAGE = """<!doctype html><title>{name}</title><link rel="icon" href="data:,"><script defer src="/{name}.js"></script>"""


@asynccontextmanager
async def served(scripts: Mapping[str, bytes]) -> AsyncIterator[int]:
    """Gives the port. The page /NAME runs the script of that name; localhost and 127.0.0.1 are two origins of it."""

    async def page(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in scripts:
            raise web.HTTPNotFound
        return web.Response(text=PAGE.format(name=name), content_type="text/html")

    async def script(request: web.Request) -> web.Response:
        return web.Response(body=scripts[request.match_info["name"]], content_type="text/javascript")

    app = web.Application()
    app.add_routes([web.get("/{name}.js", script), web.get("/{name}", page)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
