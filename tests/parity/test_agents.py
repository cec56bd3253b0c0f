from parity.cases import agents
from parity.compare import parity

test_agents = parity(agents)
