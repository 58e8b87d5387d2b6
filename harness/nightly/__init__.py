"""Nights of a lab: in which order it works, what it is judged by, and what it keeps of each."""
