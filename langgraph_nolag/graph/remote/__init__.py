"""One execution of a node's body: dispatched by the orchestrator, run by a worker."""
