"""`python -m langgraph_nolag` is the command line."""

from __future__ import annotations

from langgraph_nolag.cli.main import main

if __name__ == "__main__":
    main()
