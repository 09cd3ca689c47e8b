"""From the operator's file to what a worker needs to know."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from sinkhole.compiler import build
from sinkhole.compiler.planned import Plan
from sinkhole.config import Config, bootstrap, exposed, open_to_all, system_resolvers
from sinkhole.document import dotted
from sinkhole.endpoint import Where
from sinkhole.errors import ListenError, SinkholeError
from sinkhole.resolver.access import Rules
from sinkhole.resolver.listener import Limits
from sinkhole.resolver.listener.tls import context as tls_context
from sinkhole.resolver.lookup import Handling
from sinkhole.resolver.recorder import Recording
from sinkhole.service import hosts, start
from sinkhole.service.querylog import Keeping
from sinkhole.service.settings import Settings
from sinkhole.service.start import Kept, Places
from sinkhole.service.startup import SERVE_LAST

Tell = Callable[..., object]


def settings(config: Config, token: str, where: Where, tell: Tell = logging.warning) -> Settings:
    """The settings of ``config``, with no bundle yet; ``token`` is the secret that marks our own probes, ``where``
    is anything asked. What is no error goes to ``tell``.

    Raises SinkholeError when the configuration is not one for these places, which systemd may have opened.
    """
    if where.dot and not config.tls:
        raise ListenError("DNS over TLS takes a certificate; set tls.cert and tls.key")
    everywhere = (*where.dns, *where.dot, *where.web)
    for key, why in (*open_to_all(config, everywhere), *exposed(config, where.web)):
        raise ListenError(f"{dotted(key)}: {why}")
    upstream, mode = config.upstream, config.blocking.mode
    local, skipped = hosts.local(config)
    for problem in skipped:
        tell("left out: %s", problem)
    return Settings(
        "",
        upstream.servers or system_resolvers(start.RESOLVERS, where.dns),
        float(upstream.timeout),
        mode if isinstance(mode, str) else tuple(map(str, mode)),
        config.blocking.ttl,
        strategy=upstream.strategy,
        conditional=tuple(upstream.conditional.items()),
        bootstrap=bootstrap(config),
        ca=str(upstream.ca or ""),
        token=token,
        access=_access(config),
        limits=_limits(config),
        tls=_tls(config, tell),
        local=local,
        cache=config.cache.size,
        stale=float(config.cache.stale),
        handling=_handling(config),
        plain=config.listen.web_plain_http,
        recording=_recording(config),
    )


def places(config: Config) -> Places:
    """Where it wants to listen."""
    listen = config.listen
    optional = "dns" not in listen.model_fields_set
    return Places(Where(tuple(listen.dns), tuple(listen.dot), tuple(listen.web)), config.workers, optional)


def keep(path: Path | None, digest: str, config: Config, plan: Plan) -> None:
    """Keep what the next start needs to know, if one can be sure of it by then.

    ``config`` was read from ``path`` when what it follows from had the ``digest``
    (:func:`sinkhole.service.start.digest`).
    """
    fetched = any("://" in source.location for source in plan.sources)
    if config.startup != SERVE_LAST and not fetched:  # whether it begins ready is not known before all texts are read
        return
    wanted = places(config)
    try:
        files = start.sealed(map(str, _named(config)))
        found = settings(config, "", wanted.where, tell=lambda *_: None)
        same = bool(digest) and digest == start.digest(path) and files == start.sealed(file for file, _ in files)
    except (OSError, SinkholeError):  # no start will get far with it
        return
    if same and all(seal for _, seal in files):
        sources = tuple(dict.fromkeys((entry.id, source.id) for entry in plan.lists for source in entry.sources))
        known = json.loads(found.line())
        start.keep(
            Kept(digest, files, str(config.state_dir), wanted, build.planned(plan), sources, config.startup, known)
        )


def _named(config: Config) -> Iterator[Path]:
    """The files that settings depend on."""
    yield from config.local.hosts
    if config.tls:
        yield from (config.tls.cert, config.tls.key)
    if config.upstream.ca:
        yield config.upstream.ca


def _recording(config: Config) -> Recording:
    found = config.query_log
    return Recording(found.record, found.clients, tuple(map(str, found.exempt)))


def keeping(config: Config) -> Keeping:
    """How much of the query log is kept."""
    return Keeping(float(config.query_log.keep), config.query_log.max_size)


def _handling(config: Config) -> Handling:
    cache, rebinding = config.cache, config.answers.rebinding
    inside = (*map(str, rebinding.allow), *config.upstream.conditional)  # whose own servers say where they lead
    return Handling(
        cache.min_ttl, cache.max_ttl, cache.prefetch, config.answers.cloaking, inside if rebinding.block else None
    )


def _access(config: Config) -> Rules:
    access, limit, clients = config.access, config.rate_limit, config.clients()
    return Rules(
        allow=None if clients is None else tuple(map(str, clients.values())),
        silent=access.denied == "drop",
        rate=limit.queries,
        prefixes=(limit.ipv4_prefix, limit.ipv6_prefix),
        exempt=tuple(map(str, limit.exempt)),
        truncate=limit.truncate,
        proxies=tuple(map(str, access.proxies)),
    )


def _limits(config: Config) -> Limits:
    found = config.listen
    return Limits(found.connections, found.connections_per_client, idle=float(found.idle_timeout))


def _tls(config: Config, tell: Tell) -> tuple[str, str] | None:
    """The files, which the workers read; what is wrong with them is said here."""
    if not config.tls:
        return None
    tls_context(config.tls.cert, config.tls.key)
    if config.tls.key.stat().st_mode & 0o007:
        tell("tls.key: everyone on this machine may read %s; take that away with chmod o=", config.tls.key)
    return str(config.tls.cert), str(config.tls.key)
