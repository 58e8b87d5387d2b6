"""This machine as a device: the fallback where not even a virtual phone can be had. Never a phone's numbers."""
