"""A small real service under ScaleKit."""
