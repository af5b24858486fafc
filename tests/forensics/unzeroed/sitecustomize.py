"""The control: loaded into every process of a run in which nothing is to be zeroised.

It lies in the test harness alone; the product has no switch for it.
"""

import ctypes

ctypes.memset = lambda *_: None
