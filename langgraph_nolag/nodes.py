"""The patterns as LangGraph nodes: `from langgraph_nolag.nodes import handoff_node, …`."""

from .graph.pattern_nodes import approval_node, blackboard_node, handoff_node, inbox_node, observe_node
from .graph.tools import tools_node

__all__ = ["approval_node", "blackboard_node", "handoff_node", "inbox_node", "observe_node", "tools_node"]
