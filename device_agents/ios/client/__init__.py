"""The one place that speaks to the iOS client library (pymobiledevice3 11.45): coroutines on plain data.

It runs in the worker process of one iPhone; what the library raises is told apart in `kinds`.
"""
