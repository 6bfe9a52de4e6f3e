"""The history of groups: where it is, and what is kept of it. The setting ``HISTORY`` says which groups have one."""

from __future__ import annotations

from ._groups.history import History, KeptPush, ahistory, aposition, history, position

__all__ = ["History", "KeptPush", "ahistory", "aposition", "history", "position"]
