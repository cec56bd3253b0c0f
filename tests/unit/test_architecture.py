"""The arrows between the parts, the cost of an import, and what the package asks of an environment."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BASE = {"langchain-core", "langgraph", "websockets", "msgpack", "pydantic", "structlog", "pyjwt", "cronsim", "typer", "rich"}


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower() for requirement in requirements}


def modules_after(statement: str) -> set[str]:
    """The modules a new interpreter holds after one statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_the_import_contracts_hold() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module", ["langgraph", "langchain_core", "websockets", "msgpack", "pydantic", "nolag_broker.server", "asyncio"])
def test_importing_the_package_imports_nothing_heavy(module: str) -> None:
    assert module not in modules_after("import langgraph_nolag")


def test_connecting_needs_neither_langgraph_nor_the_server() -> None:
    loaded = modules_after("from langgraph_nolag import connect")
    assert "langgraph_nolag.client" in loaded
    assert not loaded & {"langgraph", "nolag_broker.server", "nolag_broker.engine", "nolag_broker.core", "sqlite3"}


def test_the_broker_knows_nothing_of_langgraph() -> None:
    loaded = modules_after("import nolag_broker.__main__, nolag_broker.server.process")
    assert "nolag_broker.server" in loaded
    assert not loaded & {"langgraph", "langchain_core", "langgraph_nolag"}


def test_base_dependencies_are_exactly_those_promised(pyproject: dict[str, Any]) -> None:
    assert names(pyproject["project"]["dependencies"]) == BASE


def test_constraints_are_plain_pins_of_everything_named(pyproject: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert not [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", pin)]
    pinned = {pin.split("==")[0].lower().replace("_", "-") for pin in pins}
    groups = pyproject["project"]["optional-dependencies"] | pyproject["dependency-groups"]
    packages = ([entry for entry in group if isinstance(entry, str)] for group in groups.values())  # not groups that a group includes
    wanted = names(pyproject["project"]["dependencies"]).union(*map(names, packages))
    assert {name.replace("_", "-") for name in wanted} <= pinned


def test_python_versions_said_are_one_range(pyproject: dict[str, Any]) -> None:
    project = pyproject["project"]
    listed = [c.rsplit(" ", 1)[1] for c in project["classifiers"] if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", c)]
    assert project["requires-python"] == f">={listed[0]}"
    assert pyproject["tool"]["mypy"]["python_version"] == listed[0]
    assert sys.version_info >= tuple(int(part) for part in listed[0].split("."))
