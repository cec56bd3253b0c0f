"""What a user installs: the built wheel, alone in a clean environment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from pydoc_data.topics import topics

import pytest

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, timeout: float = 300, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("NOLAG_", "PYTHON", "VIRTUAL_ENV"))}
    result = subprocess.run(command, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert result.returncode == 0, f"{' '.join(map(str, command))}:\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that holds the wheel and what it asks for, and nothing of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder, PIP_CONSTRAINT=str(CONSTRAINTS))
    [wheel] = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, f"{wheel}[demo]", cwd=folder)
    return python.parent


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path


def test_the_demo_runs_from_the_wheel(bin_folder: Path, empty: Path) -> None:
    printed = run(bin_folder / "langgraph-nolag", "demo", "--yes", "--out", "briefing.md", cwd=empty)
    briefing = (empty / "briefing.md").read_text(encoding="utf-8")
    found = re.findall(r"((?:^> .*\n)+)\n— (.+)$", briefing, re.MULTILINE)
    assert len(found) >= 3, printed + briefing
    for quoted, document in found:
        assert quoted.replace("\n> ", "\n").removeprefix("> ").strip() in topics[document]


def test_the_sdk_imports_without_the_server(bin_folder: Path, empty: Path) -> None:
    code = "import sys; from langgraph_nolag import connect; print(*sorted(sys.modules))"
    loaded = set(run(bin_folder / "python", "-c", code, cwd=empty).split())
    assert "langgraph_nolag.client" in loaded
    assert not loaded & {"nolag_broker.server", "nolag_broker.engine", "nolag_broker.core", "langgraph"}


@pytest.mark.parametrize("package", ["langgraph_nolag", "nolag_broker"])
def test_it_says_that_it_is_typed(bin_folder: Path, empty: Path, package: str) -> None:
    run(bin_folder / "python", "-c", f"import importlib.resources as r; assert (r.files('{package}') / 'py.typed').is_file()", cwd=empty)


def test_the_broker_is_in_the_wheel(bin_folder: Path, empty: Path) -> None:
    run(bin_folder / "python", "-m", "nolag_broker", "--help", cwd=empty)
