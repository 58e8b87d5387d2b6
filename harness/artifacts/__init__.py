"""Model and runner files as content-addressed artifacts, looked into before any phone is touched."""

from harness.artifacts.models import check_model
from harness.artifacts.runners import check_runner

__all__ = ["check_model", "check_runner"]
