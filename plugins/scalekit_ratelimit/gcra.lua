-- Takes from one limit that counts by GCRA, as combined_limits.lua does from several.
-- KEYS: its key. ARGV: microseconds that the request takes, and the tolerance. Returns the room: what is left of the
-- tolerance, or below zero how much too early the request is, from which all else follows.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
if arrival < now then arrival = now end
local after = arrival + ARGV[1]
local room = now + ARGV[2] - after
if room >= 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
end
return room
