"""`broker webhook-secret`: what it prints of a workspace's signing secrets, and how it replaces them."""

from __future__ import annotations

import re

import pytest

from broker.batches import new_id
from tests.acceptance.broker import Up
from tests.acceptance.processes import Commands

UNTIL = r"signs along until \d{4}-\d\d-\d\d \d\d:\d\d UTC"


@pytest.fixture
def here(commands: Commands, up: Up) -> Commands:
    return commands.with_environment(BROKER_DATA_DIR=str(up.folder))


@pytest.fixture
def workspace(here: Commands) -> str:
    """The name of a workspace of the test's own: others verify by the secret of the first one."""
    name = f"of {new_id()}"
    assert here.run("workspace", "create", name).code == 0
    return name


def printed(here: Commands, *command: str) -> list[str]:
    done = here.run("webhook-secret", *command)
    assert done.code == 0, done.err
    assert "whsk_" not in done.out + done.err
    return done.out.splitlines()


def test_it_shows_each_secret_with_its_kind_and_how_long_it_signs(here: Commands, workspace: str) -> None:
    (first,) = printed(here, "show", "--workspace", workspace)
    assert re.fullmatch(r"whsec_\S{44}  v1  signs", first)
    (pair,) = printed(here, "rotate", "--workspace", workspace, "--ed25519")
    assert re.fullmatch(r"whpk_\S{44}", pair)
    (third,) = printed(here, "rotate", "--workspace", workspace)
    assert re.fullmatch(r"whsec_\S{44}", third)
    shown = printed(here, "show", "--workspace", workspace)
    assert shown[0] == f"{third}  v1  signs"
    assert re.fullmatch(rf"{re.escape(pair)}  v1a  {UNTIL}", shown[1])
    assert re.fullmatch(rf"{re.escape(first.split()[0])}  v1  {UNTIL}", shown[2])
    assert len(shown) == 3
    listed = here.run("workspace", "list").out
    (id,) = re.findall(rf"{re.escape(workspace)}\W+([0-9a-f-]{{36}})", listed)
    assert printed(here, "show", "--workspace", id) == shown


def test_the_secret_of_no_workspace_is_an_error(here: Commands) -> None:
    for verb in ("show", "rotate"):
        done = here.run("webhook-secret", verb, "--workspace", "nobody's")
        assert (done.code, done.out) == (1, "")
        assert done.err == 'broker: there is no workspace "nobody\'s"\n'
