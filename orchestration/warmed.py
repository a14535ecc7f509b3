"""Imported once, by the process that runs are forked from."""

from orchestration.warm import import_libraries

import_libraries()
