"""`python -m istio_kit`."""

from __future__ import annotations

from istio_kit.cli import main

if __name__ == "__main__":
    main()
