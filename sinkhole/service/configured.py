"""From the operator's file to what a worker needs to know."""

from __future__ import annotations

import logging

from sinkhole.config import Config, bootstrap, exposed, open_to_all, system_resolvers
from sinkhole.document import dotted
from sinkhole.errors import ListenError
from sinkhole.resolver.access import Rules
from sinkhole.resolver.listener import Limits
from sinkhole.resolver.listener.tls import context as tls_context
from sinkhole.resolver.lookup import Handling
from sinkhole.resolver.recorder import Recording
from sinkhole.service import hosts
from sinkhole.service.querylog import Keeping
from sinkhole.service.settings import Settings
from sinkhole.service.sockets import Listening


def settings(config: Config, token: str, listening: Listening) -> Settings:
    """The settings of ``config``, with no bundle yet; ``token`` is the secret that marks our own probes, ``listening``
    where anything is asked.

    Raises SinkholeError when the configuration is not one for these sockets, which systemd may have opened.
    """
    if listening.dot and not config.tls:
        raise ListenError("DNS over TLS takes a certificate; set tls.cert and tls.key")
    everywhere = (*listening.endpoints, *listening.encrypted, *listening.webs)
    for key, why in (*open_to_all(config, everywhere), *exposed(config, listening.webs)):
        raise ListenError(f"{dotted(key)}: {why}")
    upstream, mode = config.upstream, config.blocking.mode
    local, skipped = hosts.local(config)
    for problem in skipped:
        logging.warning("left out: %s", problem)
    return Settings(
        "",
        upstream.servers or system_resolvers(own=listening.endpoints),
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
        tls=_tls(config),
        local=local,
        cache=config.cache.size,
        stale=float(config.cache.stale),
        handling=_handling(config),
        plain=config.listen.web_plain_http,
        recording=_recording(config),
    )


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


def _tls(config: Config) -> tuple[str, str] | None:
    """The files, which the workers read; what is wrong with them is said here."""
    if not config.tls:
        return None
    tls_context(config.tls.cert, config.tls.key)
    if config.tls.key.stat().st_mode & 0o007:
        logging.warning("tls.key: everyone on this machine may read %s; take that away with chmod o=", config.tls.key)
    return str(config.tls.cert), str(config.tls.key)
