"""A team of agents that writes a sourced briefing: the demo of langgraph-nolag. See README.md beside this package."""
