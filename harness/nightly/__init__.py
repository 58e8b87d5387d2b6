"""Nights of a lab: in which order it works, what it is judged by, what it tells, and what it keeps."""
