"""``python -m leaven`` is the command ``leaven``."""

from leaven.cli.main import main

if __name__ == "__main__":
    main()
