"""Code of others that a page holds, unchanged, each with its licence.

uplot.min.js, uplot.min.css: uPlot 1.6.32, from the npm package `uplot` (dist/uPlot.iife.min.js,
dist/uPlot.min.css), MIT.
"""
