"""What caches are made of: items in the memory of a process, in a store that processes share, and in both.

It knows neither HTTP nor plugins; a plugin brings what its items are beside values, and how they become bytes.
"""
