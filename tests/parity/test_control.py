from parity.cases import control
from parity.compare import parity

test_control = parity(control)
