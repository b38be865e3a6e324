"""The only door to arq and Redis: nudges out, nudges in, the bell that says done, the embedded Valkey.

Redis carries hints and nothing else. Whatever it loses, doubles or delays, a look into SQL finds within a second.
"""
