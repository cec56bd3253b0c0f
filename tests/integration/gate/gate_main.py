"""An orchestrator that is a process of its own: `gate_main.py URL begin|go_on BOOK`. Prints what came out, as JSON."""

from __future__ import annotations

import json
import sys

from gate_graphs import paying

from langgraph_nolag import NoLagSaver, distribute, wait_decisions

url, what, book = sys.argv[1:]
graph = distribute(paying, f"{url}/bank", name="paying", checkpointer=NoLagSaver(f"{url}/bank"))
config = {"configurable": {"thread_id": "weekend"}}
given = {"log": [], "book": book} if what == "begin" else wait_decisions(graph, config, 30)
result = graph.invoke(given, config, durability="sync")
waiting = [each.value["nolag"]["approval"] for each in result.get("__interrupt__", ())]
print(json.dumps({"waiting": waiting, "log": result["log"]}))
