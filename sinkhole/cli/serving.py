"""``sinkhole serve``, ``reload`` and ``status``: run the resolver, and talk to the one that runs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from sinkhole import __version__, bundle, journal, queries
from sinkhole.cli import context, publishing
from sinkhole.cli.making import STALE, age
from sinkhole.cli.options import ConfigOption, JsonOption
from sinkhole.compiler import build, history
from sinkhole.config import Config
from sinkhole.errors import BundleError, FeedError, SinkholeError
from sinkhole.feeds.body import shown
from sinkhole.files import Lock
from sinkhole.policy.exceptions import Permission, pending
from sinkhole.service import control, start, startup
from sinkhole.service.configured import keep, keeping, places, settings
from sinkhole.service.publishing import Published, Publishing
from sinkhole.service.querylog import QueryLog, Store
from sinkhole.service.sockets import Listening, inherited, listen_web
from sinkhole.service.start import Begun
from sinkhole.service.supervisor import Built, Configured, Supervisor

#: Exit codes of a build that leaves a bundle: everything fresh, some feed stale, some source refused.
_BUILT = (0, STALE, 4)
#: Seconds: that a build of ours waits for somebody else's; that a command waits for a reload, and for the status.
WAIT, RELOAD, STATUS = 120, 1800.0, 90.0
#: How much a build gives way to those who answer queries (nice(1)).
NICE = 10


def serve(config: ConfigOption = None) -> None:
    """Run the resolver until it is told to stop.

    Names that the policy blocks are answered at once; everything else is forwarded. With no configuration it listens on
    127.0.0.1 and ::1, port 5353, forwards to the system's resolvers, and enforces the catalogue's default list.

    SIGTERM stops it after the queries under way are answered; SIGHUP does what `sinkhole reload` does. What `listen`
    says, the number of workers and the state directory need a restart. Sockets that systemd opened are used in place
    of those that `listen` names.

    \b
    sinkhole serve
    sinkhole serve -c /etc/sinkhole/sinkhole.yaml
    """
    run(config)


def run(config: Path | None, begun: Begun | None = None) -> None:
    """Run the resolver. When it has ``begun`` to answer already, all is read and checked nevertheless, and the workers
    are told what came of it."""
    gc.enable()
    logging.basicConfig(format="sinkhole: %(message)s", level=logging.INFO, stream=sys.stderr)
    digest = start.digest(config)
    ctx = context.load(config)
    if begun and begun.places != places(ctx.config):
        begun.end()
        begun = None
    state = ctx.config.state_dir
    store = Store(state / queries.DIRECTORY, keeping(ctx.config))
    with nullcontext() if begun else Lock(state / start.LOCK), QueryLog(store) as recorded:
        found, fresh = _begin(ctx)
        sockets, web = (begun.sockets, begun.web) if begun else _sockets(ctx.config)
        everywhere = sockets[0]._replace(web=web)
        token = begun.token if begun else secrets.token_hex(16)
        supervisor = Supervisor(
            sockets,
            _configured(config, digest, ctx, ctx.config, token, everywhere),
            ctx.bundles,
            found=found,
            fresh=fresh,
            configure=lambda: _configured(
                config, start.digest(config), context.load(config), ctx.config, token, everywhere
            ),
            refresh=lambda offline: _build(config, offline),
            ready=_announce,
            queries=recorded,
            commands=control.listen(state),
            register=_register(ctx),
            publishing=Publishing(lambda: _publish(config, state)),
            web=web,
            begun=begun.processes if begun else (),
        )
        if (wanted := ctx.config.query_log).record != "none":
            logging.info("queries are recorded in %s for %s; see `query-log`", store.directory, wanted.keep)
        try:
            asyncio.run(supervisor.run())
        finally:
            (state / control.NAME).unlink(missing_ok=True)


def _sockets(config: Config) -> tuple[Sequence[Listening], Sequence[socket.socket]]:
    """For each worker, and for the web. What systemd opened takes the place of what the configuration says."""
    found = inherited(os.environ)
    told = ((found.webs, "listen.web does"), ((*found.endpoints, *found.encrypted), "listen.dns and listen.dot do"))
    for endpoints, keys in told:
        if endpoints:
            logging.info("systemd listens on %s; %s not count", ", ".join(map(str, endpoints)), keys)
    wanted = places(config)
    web = found.web or listen_web(wanted.where.web)
    if found.udp or found.tcp or found.dot:
        return [found._replace(web=())] * config.workers, web
    return wanted.listen(), web


def reload(config: ConfigOption = None) -> None:
    """Have the running instance read its configuration again, and say how that went.

    The instance is the one that uses the state directory of this configuration. It reads its own configuration file,
    compiles it without the network, and has all workers take it over; no query is lost. When anything is wrong, every
    problem is printed, the exit code is 1, and what is in force stays. A build that is under way is waited for.

    \b
    sinkhole reload -c /etc/sinkhole/sinkhole.yaml
    """
    ctx = context.load(config)
    found = control.ask(ctx.config.state_dir, "reload", RELOAD)
    for line in found["said"] if found["ok"] else []:
        print(line, file=sys.stderr)
    if not found["ok"]:
        raise SinkholeError("\n".join(["not reloaded, everything stays as it was:", *found["said"]]))
    print("reloaded")


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """How the running instance is: its workers, the bundle in force, feeds, and what became of the queries.

    Exit code 0: all lists are in force and fresh. 1: none runs, or it answers SERVFAIL because its lists are not
    ready. 3: it serves, but some list or feed is missing or stale, or a worker is not ready.

    \b
    sinkhole status -c /etc/sinkhole/sinkhole.yaml
    """
    ctx = context.load(config)
    found = control.ask(ctx.config.state_dir, "status", STATUS)
    found["feeds"] = list(_feeds(ctx))
    print(json.dumps(found, ensure_ascii=False) if as_json else _told(found))
    if found["state"] == startup.CLOSED:
        raise typer.Exit(1)
    ready = found["state"] == startup.READY and all(worker["ready"] for _, worker in _processes(found))
    if not ready or found["rejected"] or any(feed["stale"] for feed in found["feeds"]):
        raise typer.Exit(STALE)


def _feeds(ctx: context.Context) -> Iterator[dict[str, Any]]:
    """The sources that are fetched, and how old their copies are."""
    for source in ctx.plan.sources:
        if "://" in source.location:
            copy = ctx.store.latest(source.location, ctx.now)
            feed = build.judged(source, copy or FeedError(f"{shown(source.location)}: no copy yet"))
            age = None if copy is None else round(copy.age)
            yield {"id": source.id, "age": age, "stale": feed.failed, "error": feed.error}


def _told(found: dict[str, Any]) -> str:
    """The status for people."""
    lines = [
        f"sinkhole {found['version']}, process {found['pid']}, up for {age(found['uptime'])}",
        f"answers on {', '.join(found['listen'])}",
        f"state: {found['state']}: {startup.TEXTS[found['state']]}" + _among(found["missing"]),
    ]
    if bundle := found["bundle"]:
        lines.append(f"bundle {bundle['name']}, in use for {age(bundle['age'])}")
    if found["rejected"]:
        lines.append(f"bundle {found['rejected']} is newer and cannot be used; see the log")
    lines.append(f"policy: next change {found['policy-changes-at'] or 'by configuration only'}")
    for name, worker in _processes(found):
        ready = "ready" if worker["ready"] else "not ready"
        lines.append(f"{name}: process {worker['pid']}, {ready}, restarts: {worker['restarts']}")
    lines += [f"feed {feed['id']}: {feed['error']}" for feed in found["feeds"] if feed["stale"]]
    lines.append("queries: " + ", ".join(f"{name} {count}" for name, count in found["counters"].items()))
    recorded = found["query-log"]
    trouble = f"; it cannot be written: {recorded['error']}" if recorded["error"] else ""
    lines.append(f"query log: {recorded['bytes'] / (1 << 20):.1f} MB since {recorded['since'] or 'now'}{trouble}")
    if last := found["reload"]:
        lines.append(f"last reload: {'done' if last['ok'] else 'refused'}" + _among(last["said"]))
    return "\n".join(lines)


def _processes(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every process of a status that answers, and what it is called."""
    yield from ((f"worker {worker['number']}", worker) for worker in found["workers"])
    if found["web"]:
        yield "web", found["web"]


def _among(texts: list[str]) -> str:
    return f" ({'; '.join(texts)})" if texts else ""


def _register(ctx: context.Context) -> Callable[[], tuple[Permission, ...] | None]:
    """The exceptions that are not over, each time that their record is another file, or of another size or time."""
    seen: tuple[int, ...] | None = ()

    def changed() -> tuple[Permission, ...] | None:
        nonlocal seen
        try:
            found = ctx.journal.stat()
            now: tuple[int, ...] | None = (found.st_ino, found.st_size, found.st_mtime_ns)
        except FileNotFoundError:
            now = None
        if now == seen:
            return None
        seen = now
        return pending(journal.read(ctx.journal), datetime.now(UTC))

    return changed


def _begin(ctx: context.Context) -> tuple[Path | None, bool]:
    """The bundle to start with, and whether it is all that this machine has the texts for.

    That is the last one when people asked for nothing else since: newer texts are compiled while it serves. Otherwise
    a new one is made first, without the network. What cannot be built leaves the last bundle in force; with none at
    all, nothing is resolved until there is one.
    """
    last = _last(ctx.bundles)
    try:
        if last is not None and last.manifest["inputs"] == build.inputs(ctx.plan, ctx.feeds(offline=True)):
            return last.path, True
        if last is not None and last.manifest.get("plan") == build.planned(ctx.plan):
            return last.path, False
        if ctx.config.startup != startup.SERVE_LAST:  # the others say at once that they are not ready
            return (last.path if last is not None else None), False
        with Lock(ctx.lock):
            built = build.build(ctx.plan, ctx.feeds(offline=True), ctx.bundles, cache=ctx.cache())
        for refusal in built.refused:
            logging.warning("refused: %s", refusal)
        return built.path, True
    except SinkholeError as error:
        if last is None:
            logging.error("there is no bundle yet, and none can be built now:\n%s", error)
            return None, False
        logging.error("serving the last bundle, because there is no newer one:\n%s", error)
        return last.path, False


def _last(bundles: Path) -> bundle.Bundle | None:
    """The bundle in use, or, when that is damaged, the newest one before it that is whole."""
    current = bundle.current(bundles)
    candidates = [current] if current else []
    candidates += [path for path in history.bundles(bundles) if path != current]
    for path in candidates:
        try:
            return bundle.load(path)
        except BundleError as error:
            logging.error("the bundle %s cannot be used; trying the one before: %s", path.name, error)
    return None


def _configured(
    config: Path | None, digest: str, ctx: context.Context, running: Config, token: str, listening: Listening
) -> Configured:
    """What a configuration says to a supervisor that was started with ``running``; and the next start is to know."""
    plan = ctx.plan
    keep(config, digest, ctx.config, plan)
    for line in ctx.reviews:
        logging.warning("%s", line)
    later = {"listen": "listen", "workers": "workers", "state_dir": "state-dir"}
    return Configured(
        settings(ctx.config, token, listening.where),
        _interval(ctx),
        ctx.config.startup,
        lambda path: build.missing(plan, json.loads((path / "manifest.json").read_bytes())),
        bool(ctx.config.exports.groups),
        tuple(
            f"{key}: the new value holds from the next start"
            for field, key in later.items()
            if getattr(ctx.config, field) != getattr(running, field)
        ),
        keeping(ctx.config),
    )


def _interval(ctx: context.Context) -> float | None:
    """How often to fetch, in seconds: as often as the most lively feed wants; None without any to fetch."""
    wanted = (source.interval or build.DAY for source in ctx.plan.sources if "://" in source.location)
    return min(wanted, default=None)


async def _build(config: Path | None, offline: bool) -> Built:
    """Fetch and compile."""
    code, text = await _command(
        config, "build", "--no-exports", "--wait", str(WAIT), *(["--offline"] if offline else [])
    )
    if code:
        logging.warning("the build ended with exit code %d", code)
    return Built(code in _BUILT, code, text.removeprefix("sinkhole: "))


async def _publish(config: Path | None, state: Path) -> Published:
    """Bring the exports of groups up to date."""
    code, _ = await _command(config, "export", "--groups")
    if not code:
        logging.info("the exports of groups are up to date")
    return Published(not code, publishing.changes_at(state))


async def _command(config: Path | None, *words: str) -> tuple[int, str]:
    """The exit code of a command and what it said, in a process of its own, so that neither its memory nor its time is
    ours."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sinkhole", *words),
        *(["-c", str(config)] if config else []),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        await process.wait()
        raise
    text = said.decode(errors="replace").strip()
    if text:
        print(text, file=sys.stderr, flush=True)
    return process.returncode or 0, text


def _announce(listening: Listening) -> None:
    endpoints, encrypted = listening.endpoints, listening.encrypted
    over_tls = f"; over TLS on {', '.join(map(str, encrypted))}" if encrypted else ""
    over_http = f"; over HTTP on {', '.join(map(str, listening.webs))}" if listening.web else ""
    print(
        f"sinkhole {__version__} answers on {', '.join(map(str, endpoints))}{over_tls}{over_http}; "
        f"try: {_try(listening)}",
        flush=True,
    )


def _try(listening: Listening) -> str:
    first, *_ = listening.endpoints or listening.encrypted
    return f"dig @{first.host} -p {first.port} {'' if listening.endpoints else '+tls '}chat.deepseek.com"
