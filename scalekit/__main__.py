"""``python -m scalekit`` is ``scalekit``."""

from scalekit.cli import main

if __name__ == "__main__":
    main()
