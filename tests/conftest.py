"""Shared fixtures; puts the repository root on the path so that `tests.fakes` can be imported."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
