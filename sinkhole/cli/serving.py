"""``sinkhole serve``: run the resolver."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from pathlib import Path

from sinkhole import __version__, bundle
from sinkhole.cli import context
from sinkhole.compiler import build
from sinkhole.config import Config, Endpoint, system_resolvers
from sinkhole.errors import SinkholeError
from sinkhole.files import Lock
from sinkhole.resolver.lookup import Handling
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import listen
from sinkhole.service.supervisor import Supervisor

#: Exit codes of a build that leaves a bundle: everything fresh, some feed stale, some source refused.
_BUILT = (0, 3, 4)


def serve(config: context.ConfigOption = None) -> None:
    """Run the resolver until it is told to stop.

    Names that the policy blocks are answered at once; everything else is forwarded. With no configuration it listens on
    127.0.0.1 and ::1, port 5353, forwards to the system's resolvers, and enforces the catalogue's default list.

    SIGTERM stops it after the queries under way are answered; SIGHUP reads the configuration again, and keeps the
    running one when there is any problem in it. Listening addresses, the number of workers and the state directory need
    a restart.

    \b
    sinkhole serve
    sinkhole serve -c /etc/sinkhole/sinkhole.yaml
    """
    gc.enable()
    logging.basicConfig(format="sinkhole: %(message)s", level=logging.INFO, stream=sys.stderr)
    ctx = context.load(config)
    state = ctx.config.state_dir
    with Lock(state / "serve.lock"):
        settings = _settings(ctx.config, _bundle(ctx))
        sockets = listen(
            ctx.config.listen.dns, ctx.config.workers, optional="dns" not in ctx.config.listen.model_fields_set
        )
        supervisor = Supervisor(
            sockets,
            settings,
            ctx.bundles,
            reload=lambda: _reloaded(context.load(config), Path(settings.bundle)),
            refresh=lambda offline: _build(config, offline),
            interval=_interval(ctx),
            ready=_announce,
        )
        asyncio.run(supervisor.run())


def _bundle(ctx: context.Context) -> Path:
    """The bundle to start with: the one in use when nothing changed since, else a new one made without the network.

    What cannot be built leaves the bundle in use in force; only with none at all there is nothing to serve.
    """
    current = bundle.current(ctx.bundles)
    feeds = ctx.feeds(offline=True)
    try:
        if current and bundle.load(current).manifest["inputs"] == build.inputs(ctx.plan, feeds):
            return current
        with Lock(ctx.lock):
            built = build.build(ctx.plan, feeds, ctx.bundles, cache=ctx.cache())
        for refusal in built.refused:
            logging.warning("refused: %s", refusal)
        return built.path
    except SinkholeError as error:
        if current is None:
            raise
        logging.error("serving the last bundle, because there is no newer one:\n%s", error)
        bundle.load(current)
        return current


def _settings(config: Config, path: Path) -> Settings:
    servers = config.upstream.servers or system_resolvers(own=config.listen.dns)
    mode = config.blocking.mode
    cache, rebinding = config.cache, config.answers.rebinding
    return Settings(
        str(path),
        tuple((server.protocol, server.host, server.port) for server in servers),
        float(config.upstream.timeout),
        mode if isinstance(mode, str) else tuple(map(str, mode)),
        config.blocking.ttl,
        cache.size,
        float(cache.stale),
        Handling(
            cache.min_ttl,
            cache.max_ttl,
            cache.prefetch,
            config.answers.cloaking,
            tuple(map(str, rebinding.allow)) if rebinding.block else None,
        ),
    )


def _reloaded(ctx: context.Context, path: Path) -> tuple[Settings, float | None]:
    return _settings(ctx.config, path), _interval(ctx)


def _interval(ctx: context.Context) -> float | None:
    """How often to fetch, in seconds: as often as the most lively feed wants; None without any to fetch."""
    wanted = (source.interval or build.DAY for source in ctx.plan.sources if "://" in source.location)
    return min(wanted, default=None)


async def _build(config: Path | None, offline: bool) -> bool:
    """Fetch and compile in a process of its own, so that neither its memory nor its time is ours; whether it built."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sinkhole", "build", "--no-exports"),
        *(["--offline"] if offline else []),
        *(["-c", str(config)] if config else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        if code := await process.wait():
            logging.warning("the build ended with exit code %d", code)
        return code in _BUILT
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise


def _announce(endpoints: list[Endpoint]) -> None:
    first = endpoints[0]
    print(
        f"sinkhole {__version__} answers on {', '.join(map(str, endpoints))}; "
        f"try: dig @{first.host} -p {first.port} chat.deepseek.com",
        flush=True,
    )
