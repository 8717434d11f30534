"""Texts and pages: numbers with their units, HTML, the terminal."""
