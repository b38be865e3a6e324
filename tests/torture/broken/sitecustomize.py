"""Breaks the broker in processes that find this on PYTHONPATH and TORTURE_BROKEN in their environment.

Python imports a module of this name before it runs a program.
"""

from __future__ import annotations

import os
from importlib import import_module

if name := os.environ.get("TORTURE_BROKEN"):
    import_module("broken_builds").BUILDS[name]()
