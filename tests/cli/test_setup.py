from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from sinkhole import __version__
from tests.conftest import CHECKOUT, Site, missing


def test_check_of_a_good_configuration(site: Site) -> None:
    site.configure({"groups": {"lab": {"clients": ["10.0.0.0/8"]}}})

    assert site.run("check", "-c", "sinkhole.yaml").out.startswith(
        "sinkhole.yaml is valid: lists 5, sources 0, directives 1, groups 1"
    )
    assert site.run("check").out.startswith("the default configuration is valid: ")
    assert not site.state.exists()


def test_check_prints_every_problem_at_once(site: Site) -> None:
    site.write(
        "bad.yaml",
        "workers: 1\nblocking: {mode: nxdomian}\npolicy:\n  - {groups: [all], lists: [deepsek]}\n"
        "workers: 2\nblok: []\n",
    )

    ran = site.run("check", "-c", "bad.yaml", code=1)

    assert ran.out == ""
    assert ran.err.splitlines() == [
        "sinkhole: bad.yaml:2:12: blocking.mode: unknown mode 'nxdomian'; did you mean \"nxdomain\"?",
        "bad.yaml:4:29: policy[0].lists[0]: unknown list 'deepsek'; did you mean \"deepseek\"?",
        "bad.yaml:5:1: workers: duplicate key; it is already on line 1",
        'bad.yaml:6:1: blok: unknown key; did you mean "block"?',
    ]


def test_init_writes_a_file_that_is_valid_and_never_replaces_one(site: Site) -> None:
    ran = site.run("init")
    site.run("check", "-c", "sinkhole.yaml")
    written = (site.directory / "sinkhole.yaml").read_text()
    refused = site.run("init", code=1)
    site.run("init", "other.yaml")
    nowhere = site.run("init", "no/such/directory.yaml", code=1)

    assert ran.err == "wrote sinkhole.yaml; check it with: sinkhole check -c sinkhole.yaml\n"
    assert refused.err == "sinkhole: sinkhole.yaml exists already; it was not touched\n"
    assert nowhere.err == "sinkhole: cannot write no/such/directory.yaml: No such file or directory\n"
    assert (site.directory / "sinkhole.yaml").read_text() == written
    assert (site.directory / "other.yaml").read_text() == written


def test_schema_names_every_key(site: Site) -> None:
    schema = site.run("schema").data

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(schema["properties"]) >= {"state-dir", "workers", "listen", "upstream", "blocking", "groups", "policy"}
    assert schema["additionalProperties"] is False


def test_version(site: Site) -> None:
    assert site.run("version").out == f"sinkhole {__version__}\n"


def test_a_wheel_holds_the_catalogue_and_finds_it(site: Site) -> None:
    """Away from any checkout, by the package alone."""
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(site.directory), str(CHECKOUT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if build.returncode:
        missing(f"cannot build a wheel: {build.stderr[-500:]}")
    (wheel,) = site.directory.glob("*.whl")
    package = site.directory / "unpacked"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(package)
    empty = Site(site.directory / "empty")
    empty.directory.mkdir()

    shipped = {name.removeprefix("sinkhole/catalogue/data/") for name in names if "/catalogue/data/" in name}
    feeds = CHECKOUT / "feeds"
    assert shipped == {str(path.relative_to(feeds)) for path in feeds.rglob("*") if path.is_file()}
    assert not any(name.startswith(("tests/", "feeds/", "exports/")) for name in names)
    found = empty.run("explain", "chat.deepseek.com", "--json", environ={"PYTHONPATH": str(package)}).data
    assert (found["directive"], found["list"]) == ("kr-mofa-2025-02-05", "deepseek")
    where = "import sinkhole.catalogue.loader as loader; print(loader.load().directory)"
    environ = {**os.environ, "PYTHONPATH": str(package)}
    told = subprocess.run(
        [sys.executable, "-c", where], cwd=empty.directory, env=environ, capture_output=True, check=True
    )
    assert Path(told.stdout.decode().strip()) == package / "sinkhole/catalogue/data"
