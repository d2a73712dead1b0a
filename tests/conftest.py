"""Shared by all tests: the repository root on the path, and Ray's authentication before Ray is first imported."""

import os
import secrets
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

# Ray reads these when it is imported; without them it would write a token into the home folder.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Ray's workers run at niceness 15: beside other work on the machine they would starve until a test gives up.
os.environ.setdefault("RAY_worker_niceness", "0")
