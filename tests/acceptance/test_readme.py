"""Every Python block of the READMEs and docs runs as it stands; every command in their shell blocks exists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langgraph_nolag.cli.main import app

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("langgraph-nolag")
PAGES = ["README.md", "broker/README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").glob("*.md"))]
OTHERS = ["CHANGELOG.md", "CONTRIBUTING.md", "broker/PROTOCOL.md", "examples/briefing/README.md", "examples/team/README.md"]
PRINTED = {
    "README.md": [
        "All about tea, by process",
        "{'text': 'All about tea'}",
        "{'steps': 2} revision 2",
        "approved: True",
        "3 articles about tea",
        "approval.decided",
        "'published': True",
        "Tea is good",
        "Tea is old",
    ],
    "docs/langgraph.md": [
        "{'text': 'Tea is good!', 'sent': True}",
        "{'text': 'drinks tea', 'stars': 5}",
        "1 {'text': 'drinks tea', 'stars': 6}",
        "shared: All about tea",
        "the same over a broker",
    ],
    "docs/concepts.md": ["sent to ana", "sent to bob", "after the restart: green", "mine to do: black attempt 1", "All about tea"],
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_blocks_run(page: str, tmp_path: Path) -> None:
    """A block whose first line is a comment with a file's name is that file; the others run, in order, beside them."""
    scripts = []
    for block in blocks(page, "python"):
        if named := re.match(r"# (\S+\.py)\n", block):
            file = tmp_path / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block, encoding="utf-8")
        else:
            scripts.append(tmp_path / f"script{len(scripts)}.py")
            scripts[-1].write_text(block, encoding="utf-8")
    printed = ""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "default"}
    for script in scripts:
        result = subprocess.run(
            [sys.executable, script.name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, f"{page}:\n{script.read_text()}\n{result.stdout}\n{result.stderr}"
        printed += result.stdout
    assert [words for words in PRINTED.get(page, []) if words not in printed] == [], printed


def test_a_gate_is_answered_from_elsewhere(tmp_path: Path) -> None:
    """The README's processes, one by one: whoever waits for the decision is killed, and finds it when it is started again."""
    for block in blocks("README.md", "python"):
        if named := re.match(r"# (\S+\.py)\n", block):
            (tmp_path / named[1]).parent.mkdir(exist_ok=True)
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
    with ExitStack() as stack:

        def start(*command: object) -> subprocess.Popen[str]:
            environment = {name: value for name, value in os.environ.items() if not name.startswith("NOLAG_")}
            process = subprocess.Popen([*map(str, command)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        def ask(*words: str) -> Any:
            done = start(COMMAND, *words, "--json").communicate(timeout=60)[0]
            return json.loads(done)

        broker = start(COMMAND, "broker", "--port", "0")
        assert broker.stdout is not None
        address = broker.stdout.readline().split()[-1]
        main = tmp_path / "main.py"
        assert "ws://127.0.0.1:7420" in main.read_text(encoding="utf-8")
        main.write_text(main.read_text(encoding="utf-8").replace("ws://127.0.0.1:7420", address), encoding="utf-8")
        start(COMMAND, "worker", "article:app")
        first = start(sys.executable, "main.py")
        deadline = time.monotonic() + 60
        while not (waiting := ask("approvals", "list")["approvals"]):
            assert time.monotonic() < deadline, "nobody asked"
            assert first.poll() is None
        first.kill()
        ask("approvals", "approve", waiting[0]["approval"][:10])
        printed, _ = start(sys.executable, "main.py").communicate(timeout=60)
        assert "'published': True" in printed


def test_commands_in_shell_blocks_exist() -> None:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    used = {line.split()[1] for line in lines if line.startswith("langgraph-nolag ")}
    assert used
    for name in used:
        result = CliRunner().invoke(app, [name, "--help"])
        assert result.exit_code == 0, f"{name}: {result.output}"
    targets = {line.split()[1] for line in lines if line.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_links_lead_somewhere() -> None:
    for page in [*PAGES, *OTHERS]:
        for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", prose(page)):
            found = (ROOT / page).parent / target if target else ROOT / page
            assert found.exists(), f"{page} links to {target}"
            assert not anchor or anchor in anchors(found), f"{page} links to {target}#{anchor}"


@pytest.mark.parametrize("page", [*PAGES, *OTHERS])
def test_prose_can_be_reviewed_line_by_line(page: str) -> None:
    """Tables and diagrams may be wider; what `make chaos` writes is wrapped by it."""
    lines = re.sub(r"<!-- chaos: written.*?<!-- chaos: end -->", "", prose(page), flags=re.DOTALL).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith(("|", "    {"))] == []


def prose(page: str) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
