"""Nights of a lab: what is measured in them, what is judged over them, and what becomes of it."""
