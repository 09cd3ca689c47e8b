"""What a build publishes: exports that are in place stay, the others are written, and commands are told.

What states rules and decides is imported when something needs it: that takes longer than to see that nothing does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from sinkhole import bundle
from sinkhole.cli.job import Job
from sinkhole.compiler import build as building
from sinkhole.compiler.parsed import Cache
from sinkhole.errors import SinkholeError
from sinkhole.exports import INDEX, README
from sinkhole.files import sweep, write_atomic
from sinkhole.seals import Seals

if TYPE_CHECKING:
    from sinkhole.compiler.compile import Compiled
    from sinkhole.exports.publish import Published
    from sinkhole.exports.readme import Section
    from sinkhole.exports.signing import Key
    from sinkhole.exports.subject import Subject
    from sinkhole.policy.exceptions import Permission
    from sinkhole.policy.span import Span

#: In the state directory: what was published from what, and which files changed since the commands for that ran well.
RECORD, CHANGED = "exports.json", "exports.changed"

#: The files of one list or group, as the index has them.
Files = list[dict[str, Any]]
Lists = Callable[[], "Sequence[Compiled]"]


class Updated(NamedTuple):
    """What a build did to the exports: whether it wrote any, the paths that changed, and all files there are now."""

    written: bool
    changed: list[str]
    files: Files


class _Site(NamedTuple):
    """Where and of what exports are made: ``inputs`` tell what that is, None: of nothing that is there; ``lists`` are
    compiled when they are asked for, None: they are left alone; ``bundle`` is that of groups."""

    job: Job
    bundle: Path
    inputs: str | None
    lists: Lists | None
    now: datetime
    seals: Seals
    keep: bool = True


def update(job: Job, built: building.Built, cache: Cache, seals: Seals, now: datetime) -> Updated:
    """Put the exports of a build in place. What is there, and made of the same things, is left alone.

    After a dry run nothing is written, and ``files`` are what there would be.
    """

    def lists() -> Sequence[Compiled]:
        if built.lists:
            return built.lists
        return building.compile_lists(job.plan, job.plan.lists, built.feeds, built.before, cache=cache).lists

    with _bundle(job, built, cache) as path:
        same = built.kept or not built.lists  # else a dry run would make others than there are
        return _update(_Site(job, path, _inputs(path) if same else None, lists, now, seals, built.kept))


def update_groups(job: Job, now: datetime) -> Updated:
    """Put the exports of groups in place, by the bundle in use; those of lists stay as they are."""
    current = bundle.current(job.bundles)
    if current is None:
        raise SinkholeError("no bundle is in use yet; run `sinkhole build` first")
    return _update(_Site(job, current, _inputs(current), None, now, Seals()))


def after(job: Job, changed: Sequence[str]) -> list[str]:
    """Run the commands for files that changed, now or before they last ran well; why those that failed did."""
    path = job.state_dir / CHANGED
    changed = sorted({*changed, *_noted(path)})
    if not job.exports.after or not changed:
        return []
    from sinkhole.exports import hooks

    failures = list(hooks.run(job.exports.after, job.exports.dir, changed))
    if failures:
        _note(path, changed)
    else:
        path.unlink(missing_ok=True)
    return failures


def changes_at(state: Path) -> datetime | None:
    """The next instant at which an export of a group is to be made anew, as the last build noted it."""
    try:
        text = json.loads((state / RECORD).read_bytes())["changes-at"]
        return datetime.fromisoformat(text) if text else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


@contextmanager
def _bundle(job: Job, built: building.Built, cache: Cache) -> Iterator[Path]:
    """The bundle of a build; that of a dry run, when groups are exported from it, is gone afterwards."""
    if built.kept or not built.lists or not job.exports.groups:
        yield built.path
        return
    with TemporaryDirectory(prefix="sinkhole-") as directory:
        yield building.build(job.plan, built.feeds, Path(directory), accept=True, cache=cache).path


def _inputs(path: Path) -> str:
    inputs: str = json.loads((path / "manifest.json").read_bytes())["inputs"]
    return inputs


def _update(site: _Site) -> Updated:
    exports, seals = site.job.exports, site.seals
    record, key = site.job.state_dir / RECORD, _key(site.job)
    spans, permissions = _spans(site)
    shelved, noted = _shelved(exports.dir), _made(record, exports.dir, seals)
    made = noted or {}
    common = [site.inputs, list(exports.formats), exports.gzip, key.name if key else None]
    if not site.lists and noted is None and (exports.dir / INDEX).exists():
        raise SinkholeError(f"{exports.dir / INDEX} is not as the last build left it; run `sinkhole build` first")
    if site.lists:
        wanted: dict[str, Any] = {f"list {id}": common for id in exports.lists}
    else:
        wanted = {name: made.get(name) for name in {**shelved, **made} if name.startswith("list ")}
    left = frozenset(() if site.lists else wanted)
    wanted |= {f"group {id}": [*common, *map(_text, found)] for id, found in spans.items()}
    standing = {
        name: shelved.get(name, [])
        for name, how in wanted.items()
        if name in left or (site.inputs and made.get(name) == how and _whole(exports.dir, shelved.get(name, []), seals))
    }
    if standing.keys() == wanted.keys() >= made.keys() and noted is not None and (exports.dir / README).exists():
        files = (file for shelf in standing.values() for file in shelf)
        return Updated(False, [], sorted(files, key=lambda file: str(file["path"])))
    names = [name for name in wanted if name not in standing]
    written = _write(site, names, standing, permissions, key)
    changed = [file.path for file in written if file.changed]
    if site.keep:
        until = min((found.until for found in spans.values() if found.until), default=None)
        index = seals.sha256(exports.dir / INDEX)
        told = {"dir": str(exports.dir), "index": index, "changes-at": _text(until), "made": wanted}
        write_atomic(record, json.dumps(told, indent=1).encode() + b"\n")
        for place in {exports.dir, *((exports.dir / file.path).parent for file in written)}:
            sweep(place)
        if changed and exports.after:
            _note(site.job.state_dir / CHANGED, changed)
    return Updated(site.keep, changed, [file.data() for file in written])


def _spans(site: _Site) -> tuple[dict[str, Span], tuple[Permission, ...]]:
    """The span of each group that is exported, and all exceptions."""
    if not site.job.exports.groups:
        return {}, ()
    from sinkhole import journal
    from sinkhole.policy.exceptions import register
    from sinkhole.policy.span import span

    permissions = tuple(register(journal.read(site.job.journal)).values())
    plain = json.loads((site.bundle / "policy.json").read_bytes())
    known = ("all", *plain["groups"])
    return {id: span(plain, permissions, site.now, id) for id in site.job.exports.groups if id in known}, permissions


def _key(job: Job) -> Key | None:
    """The key that exports are signed with. Raises SinkholeError for one that cannot be used."""
    if job.exports.sign is None:
        return None
    from sinkhole.exports.signing import read_key

    try:
        return read_key(job.exports.sign)
    except SinkholeError as error:
        raise SinkholeError(f"{job.exports.signed_at}: exports.sign: {error}") from error


def _write(
    site: _Site,
    names: Sequence[str],
    standing: Mapping[str, Files],
    permissions: tuple[Permission, ...],
    key: Key | None,
) -> list[Published]:
    from sinkhole.exports.publish import Style, publish, published  # and with it every format
    from sinkhole.formats import FORMATS

    exports = site.job.exports
    return publish(
        exports.dir,
        _subjects(site, names, permissions),
        [FORMATS[id] for id in exports.formats],
        style=Style(exports.gzip, key),
        standing=[
            (_section(site, name, files), list(map(published, files))) for name, files in standing.items() if files
        ],
        keep=site.keep,
    )


def _subjects(site: _Site, names: Iterable[str], permissions: tuple[Permission, ...]) -> Iterator[Subject]:
    """What is to be written, one after the other."""
    from sinkhole.exports.subject import of_list

    wanted = [name.partition(" ")[::2] for name in names]
    ids = {id for kind, id in wanted if kind == "list"}
    if ids and site.lists:
        yield from (of_list(compiled) for compiled in site.lists() if compiled.plan.id in ids)
    groups = [id for kind, id in wanted if kind == "group"]
    if groups:
        from sinkhole.exports.group import group
        from sinkhole.exports.subject import of_group
        from sinkhole.policy.policy import Policy

        policy = Policy(bundle.load(site.bundle), site.now, permissions)
        yield from (of_group(group(policy, id), policy.bundle, site.job.plan.lists) for id in groups)


def _section(site: _Site, name: str, files: Files) -> Section:
    from sinkhole.exports.readme import Section
    from sinkhole.exports.subject import group_section, section

    kind, _, id = name.partition(" ")
    if kind == "group":
        return group_section(files[0])
    return next((section(entry) for entry in site.job.plan.lists if entry.id == id), Section(id, ()))


def _shelved(directory: Path) -> dict[str, Files]:
    """The files of each list and group, as the index has them."""
    found: dict[str, Files] = {}
    try:
        for entry in json.loads((directory / INDEX).read_bytes())["exports"]:
            name = f"group {entry['group']}" if "group" in entry else f"list {entry['list']}"
            found.setdefault(name, []).append(entry)
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found


def _made(record: Path, directory: Path, seals: Seals) -> dict[str, Any] | None:
    """What each list and group was made of; None when the index is another one."""
    try:
        noted = json.loads(record.read_bytes())
        same = (noted["dir"], noted["index"]) == (str(directory), seals.sha256(directory / INDEX))
        return dict(noted["made"]) if same else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _whole(directory: Path, files: Files, seals: Seals) -> bool:
    """Whether files are as they were written."""
    try:
        hashes = [pair for file in files for pair in ((file["path"], file["sha256"]), *file.get("beside", {}).items())]
        return all(seals.sha256(directory / path) == sha256 for path, sha256 in hashes)
    except (OSError, LookupError, TypeError, AttributeError):
        return False


def _noted(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _note(path: Path, changed: Iterable[str]) -> None:
    write_atomic(path, "".join(f"{name}\n" for name in sorted({*changed, *_noted(path)})).encode())


def _text(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None
