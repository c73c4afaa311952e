"""Lua scripts that run in the server."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha1

_FOR_EACH_KEY = """\
local function run(KEYS, ARGV)
%s
end
local function failure(reply)
  if type(reply) == 'table' then return reply end
  return {err = (string.find(reply, '^%%u+ ') and '' or 'ERR ') .. reply}
end
local each = tonumber(ARGV[1])
local shared = #ARGV == each + 1
local replies = {}
for place = 1, #KEYS do
  local first = shared and 2 or 2 + (place - 1) * each
  local ran, reply = pcall(run, {KEYS[place]}, {unpack(ARGV, first, first + each - 1)})
  if not ran then reply = failure(reply) end
  if reply == nil then reply = false end
  replies[place] = reply
end
return replies
"""


class Script:
    """A Lua script with its SHA-1 digest. It is immutable and can be a constant of a module."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.digest = sha1(source.encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def for_each_key(self) -> Script:
        """Return a script that runs this one for several keys in order and returns one reply for each.

        Its arguments are the number of this script's arguments, and then those: once for all keys, or once for each
        key. The reply for a key for which this script fails is the error. Raises ValueError when the source cannot be
        embedded.
        """
        if self.source.startswith("#!"):
            raise ValueError("a script whose first line names an engine cannot be part of another")
        return Script(_FOR_EACH_KEY % self.source)
