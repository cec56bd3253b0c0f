"""A program that has seeded `random` gets its numbers, whatever goes on in the background."""

from __future__ import annotations

import random
import socket

from langgraph_nolag import open_room


def test_who_comes_back_leaves_the_programs_random_numbers_alone() -> None:
    state = random.getstate()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(15)
        link = open_room(f"ws://127.0.0.1:{server.getsockname()[1]}/r", token="token")
        waiting = link.request("room.info")
        for _ in range(3):  # it is refused, thinks about when to try again, and does
            server.accept()[0].close()
        waiting.cancel()
        link.connection.close()
    assert random.getstate() == state
