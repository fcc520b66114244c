from __future__ import annotations

import sys
from pathlib import Path

import pytest

# Test files are imported one by one, so that their folder is not on the path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("bench_kit")
