"""The log on stderr, one clean line per event."""

from __future__ import annotations

import logging
import sys
import warnings

from rich.style import Style

from leaven.cli.output import STYLES, safe


class _Lines(logging.Handler):
    """Writes to what ``sys.stderr`` is at that moment: a live progress bar puts itself there."""

    def emit(self, record: logging.LogRecord) -> None:
        text = safe(self.format(record))
        if record.levelno >= logging.WARNING:
            word = "error" if record.levelno >= logging.ERROR else "warning"
            style = Style.parse(STYLES[word] if sys.stderr.isatty() else "")
            text = f"{style.render(word + ':')} {text}"
        print(text, file=sys.stderr, flush=True)


def start_log(*, quiet: bool, verbose: bool) -> None:
    """Sends the log of leaven to stderr.

    Args:
        quiet: errors only.
        verbose: everything, with times and places, and the warnings of other packages.
    """
    handler = _Lines()
    if verbose:
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    else:
        warnings.simplefilter("ignore")
    logger = logging.getLogger("leaven")
    logger.handlers = [handler]
    logger.propagate = False
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO
    logger.setLevel(level)
