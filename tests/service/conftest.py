"""The feed on loopback, as tests of commands have it."""

from tests.cli.conftest import web as web
