-- Counts a hit on one GCRA limit, as combined_limits.lua does on several.
-- KEYS: key of the limit. ARGV: increment (cost times emission interval) and tolerance, in microseconds.
-- Returns the slack in microseconds: the unused tolerance or, below zero, how much too early the request is.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
if arrival < now then arrival = now end
if arrival > now + ARGV[2] then arrival = now + ARGV[2] end -- the clock went back
local after = arrival + ARGV[1]
local slack = now + ARGV[2] - after
if slack >= 0 then
  redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
end
return slack
