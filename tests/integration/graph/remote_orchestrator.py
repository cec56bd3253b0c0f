"""An orchestrator process of the crash tests: runs one graph in one thread, and prints what came of it.

remote_orchestrator.py GRAPH THREAD INPUT      (INPUT is JSON; null goes on where the thread stopped)
"""

from __future__ import annotations

import json
import os
import sys

from langgraph.store.memory import InMemoryStore
from remote_graphs import GRAPHS

from langgraph_nolag import NoLagSaver, distribute

name, thread, value = sys.argv[1:]
room = f"{os.environ['NOLAG_URL']}/graphs"
graph = distribute(GRAPHS[name], room, name=name, checkpointer=NoLagSaver(room), store=InMemoryStore())
print("invoking", flush=True)
result = graph.invoke(json.loads(value), {"configurable": {"thread_id": thread}}, durability="sync")
print(json.dumps(result["log"]), flush=True)
