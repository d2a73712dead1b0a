"""`pyarrow.compute`, typed as `Any`: it makes its functions at import time, so type checkers know none of them."""

from typing import Any

import pyarrow.compute

pc: Any = pyarrow.compute
