"""One or several runs as ``report.json``, ``report.md`` and one self-contained ``report.html``."""
