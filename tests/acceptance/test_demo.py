"""The demo, as a user runs it: in processes of its own, through the command line."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from nolag_briefing.corpus import python_reference

PATIENCE = 120.0  # seconds for a whole run on a busy machine
DEMO = [sys.executable, "-m", "langgraph_nolag", "demo"]


def demo(*arguments: str | Path, timeout: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    command = [*DEMO, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False)


class Quotation(NamedTuple):
    sub_question: str
    text: str
    document: str


def quotations(briefing: str) -> list[Quotation]:
    """Every block quote of a briefing, with the heading above it and the document below it."""
    found, heading, quoted = [], "", []
    for line in briefing.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("> "):
            quoted.append(line[2:])
        elif line.startswith("— "):
            found.append(Quotation(heading, "\n".join(quoted), line[2:]))
            quoted = []
    assert not quoted, f"a quotation without a document: {quoted}"
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """One run without trouble: what it printed, and the briefing."""
    out = tmp_path_factory.mktemp("plain") / "briefing.md"
    done = demo("--yes", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, out.read_text(encoding="utf-8")


def test_every_quotation_stands_word_for_word_in_the_document_it_names(plain: tuple[str, str]) -> None:
    _, briefing = plain
    documents = python_reference()
    found = quotations(briefing)
    assert len(found) >= 6
    for quotation in found:
        assert quotation.sub_question
        assert quotation.text in documents[quotation.document]
    assert briefing.count("\n> ") >= len(found)


def test_the_lines_tell_the_whole_story(plain: tuple[str, str]) -> None:
    printed, briefing = plain
    for step in (
        "plan made",
        "calls the tool search_passages",
        "wrote plan on the blackboard",
        "wrote findings/0 on the blackboard",
        "asks: publish?",
    ):
        assert step in printed, step
    for worker in ("librarian", "writer", "reviewer"):
        assert re.search(rf"{worker} +has research, attempt 1", printed), f"{worker} did no research"
    assert "langgraph-nolag approvals approve" in printed
    assert "sent back: not word for word" in printed, "the review had nothing to do"
    assert "no finished node ran twice" in printed
    assert "Traceback" not in printed
    sections = re.findall(r"^## ", briefing, re.MULTILINE)
    assert f"plan made: {len(sections)} sub-questions" in printed


def test_with_chaos_the_briefing_is_the_same_byte_for_byte(plain: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "briefing.md"
    done = demo("--yes", "--chaos", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert out.read_bytes() == plain[1].encode()
    assert "no finished node ran twice" in done.stdout
    for killed, during in (("(writer|reviewer)", r"research \d"), ("orchestrator", "draft 1"), ("broker", "the gate")):
        assert re.search(rf"{killed} +kill -9 \(process \d+\) during {during}", done.stdout), f"{killed} was not killed\n{done.stdout}"
        assert re.search(rf"^{killed} +process \d+ +{during} +\S.*\d+\.\d+ s$", done.stdout, re.MULTILINE), (
            f"nobody took over from {killed}\n{done.stdout}"
        )
    assert re.search(r"task.*, [1-9]\d* of them a second time|handed to workers, [1-9]\d* of them a second time", done.stdout)


@contextmanager
def running(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*DEMO, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)
        assert process.stdout is not None
        process.stdout.close()


def test_own_documents_and_a_gate_that_waits_for_the_printed_command(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "teas").mkdir(parents=True)
    green = (
        "# Green tea\n\nGreen tea is made from leaves that were heated soon after harvest.  Heat stops\nthe oxidation (steam, or a pan).\n"
    )
    black = (
        "Black tea\n=========\n\nBlack tea is made from leaves that were left to oxidise before they are dried.\nIts leaves turn brown.\n"
    )
    (docs / "teas" / "green.md").write_text(green)
    (docs / "black.txt").write_text(black)
    out = tmp_path / "briefing.md"
    with running("--docs", docs, "--question", "How do people make green tea and black tea?", "--out", out) as process:
        assert process.stdout is not None
        lines = []
        command = None
        for line in process.stdout:  # ends with the process, which ends with the with
            lines.append(line)
            if " approvals approve " in line:
                command = shlex.split(line)
                break
        assert command is not None, "".join(lines)
        assert not out.exists()
        answered = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert answered.returncode == 0, answered.stderr
        rest = process.stdout.read()
        assert process.wait(PATIENCE) == 0, rest
    found = quotations(out.read_text())
    assert {quotation.document for quotation in found} == {"teas/green.md", "black.txt"}
    documents = {"teas/green.md": green, "black.txt": black}
    assert all(quotation.text in documents[quotation.document] for quotation in found)


def test_a_person_at_the_terminal_says_no(tmp_path: Path) -> None:
    out = tmp_path / "briefing.md"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(
        [*DEMO, "--out", str(out)], stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
    )
    os.close(theirs)
    seen, answered, deadline = b"", False, time.monotonic() + PATIENCE
    try:
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 1.0)[0]:
                try:
                    chunk = os.read(ours, 65536)
                except OSError:  # the other end is closed: the demo has ended
                    break
                seen += chunk
                if not answered and b"[y]es or [n]o" in seen:
                    os.write(ours, b"n\n")
                    answered = True
        assert process.wait(10) == 1, seen.decode(errors="replace")
    finally:
        process.kill()
        os.close(ours)
    assert answered
    assert "rejected: nothing was published" in seen.decode(errors="replace")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--docs", "/nowhere/at/all"], "is not a folder"),
        (["--docs", "EMPTY"], "holds no document"),
        (["--model", "nobody:nothing"], "can't be used"),
        (["--question", "  "], "question"),
        (["--out", "/dev/null/b.md"], "can't go to /dev/null/b.md"),
        (["--out", "EMPTY"], "is a folder"),
    ],
)
def test_wrong_use_is_one_clear_line(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = demo(
        "--out", tmp_path / "b.md", *(str(tmp_path) if argument == "EMPTY" else argument for argument in arguments), "--yes", timeout=30
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stdout + done.stderr
