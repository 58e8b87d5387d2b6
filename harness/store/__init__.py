"""Runs and measurements in a database: SQLite by default, PostgreSQL by URL."""

from harness.store.night_figures import NightFigure
from harness.store.rows import DeviceRecord, EventRecord, MeasurementRow, Samples
from harness.store.store import Store

__all__ = ["DeviceRecord", "EventRecord", "MeasurementRow", "NightFigure", "Samples", "Store"]
