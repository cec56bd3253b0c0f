"""The demo with a language model: LangChain's own client for OpenAI's interface, over HTTP, in every process of the demo.

What answers is no model: it copies sentences from the prompt, as it was asked to, and invents one now and then, as models do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .test_demo import PATIENCE, quotations

INVENTED = "Tea was discovered by a committee."
DOCUMENT = (
    "# Tea\n\nGreen tea is made from leaves that were heated soon after harvest.\n\n"
    "Black tea is made from leaves that were left to oxidise before they are dried.\n"
)


class Completions(BaseHTTPRequestHandler):
    """`POST /v1/chat/completions`, for the three things that the agents ask."""

    asked: list[str]

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        self.asked.append(prompt)
        message = {"role": "assistant", "content": _answer(prompt)}
        body = {
            "id": f"chatcmpl-{len(self.asked)}",
            "object": "chat.completion",
            "created": 1,
            "model": request["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        encoded = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _answer(prompt: str) -> str:
    if "sub-questions that together answer it" in prompt:
        return "1. How is green tea made?\n2. How is black tea made?\n- What are the leaves for?"
    if "Copy up to three sentences" in prompt:
        sentences = re.findall(r"\[(\d+)\] (?:# \w+\s+)?([^\[]*?\.)\s", prompt)
        return f"[1] {INVENTED}\n" + "\n".join(f"[{number}] {' '.join(text.split())}" for number, text in sentences[:2])
    assert "In which order" in prompt, prompt
    return "2, 1, 3"


@pytest.fixture
def model() -> Iterator[tuple[str, list[str]]]:
    """Where it listens, and what it was asked."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Completions,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", asked
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_model_plans_quotes_and_orders_and_what_it_invents_is_sent_back(model: tuple[str, list[str]], tmp_path: Path) -> None:
    url, asked = model
    docs, out = tmp_path / "docs", tmp_path / "briefing.md"
    docs.mkdir()
    (docs / "tea.md").write_text(DOCUMENT)
    command = [sys.executable, "-m", "langgraph_nolag", "demo", "--yes", "--out", out, "--docs", docs]
    command += ["--question", "How is tea made?", "--model", "openai:gpt-4o-mini"]
    environment = {**os.environ, "OPENAI_API_KEY": "none", "OPENAI_BASE_URL": url}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=environment, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    briefing = out.read_text()
    assert [line[3:] for line in briefing.splitlines() if line.startswith("## ")] == [
        "How is black tea made?",
        "How is green tea made?",
        "What are the leaves for?",
    ]
    found = quotations(briefing)
    assert found
    assert all(quotation.document == "tea.md" and quotation.text in DOCUMENT for quotation in found)
    assert "sent back: not word for word" in done.stdout
    assert INVENTED not in briefing
    assert "no finished node ran twice" in done.stdout
    assert sum("Copy up to three sentences" in prompt for prompt in asked) == 3  # one a sub-question: no body ran twice
