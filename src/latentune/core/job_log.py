"""The lines that a long job writes about itself: what it works on and how far it is.

The command line shows the lines of this logger also without `-v` and without a terminal, unlike other information.
"""

from __future__ import annotations

import logging

job_logger = logging.getLogger("latentune.job")
