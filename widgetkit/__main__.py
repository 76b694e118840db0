"""``python -m widgetkit``."""

from widgetkit.cli import main

if __name__ == "__main__":
    main()
