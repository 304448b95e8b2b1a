"""Embedrock in a Python program: the same engine with no server, or a gateway's client.

`functions` has `embedding` and `aembedding`, which LiteLLM's users know; `client` has `Client` and `AsyncClient`.
Arguments are checked in the caller's thread (`arguments`, `asking`); what they ask is done on one event loop in a
thread of its own (`background`), by an engine a place (`engines`): an open gateway, or the connections to one
(`remote`).
"""
