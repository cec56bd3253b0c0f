from parity.cases import subgraphs
from parity.compare import parity

test_subgraphs = parity(subgraphs)
