"""Temporary folders, files that are whole or not there, files that packages carry."""
