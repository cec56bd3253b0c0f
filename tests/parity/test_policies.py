from parity.cases import policies
from parity.compare import parity

test_policies = parity(policies)
