-- Counts a hit on every limit of a request, or on none when one of them refuses.
-- KEYS: key of each limit. ARGV, five for each limit: algorithm (g = GCRA, s = sliding window), emission interval or
-- quota, tolerance or window, cost, and 1 for a dry run. Returns four numbers for each limit: allowed, remaining,
-- microseconds until the full quota is available, and microseconds until a retry. All are integers below 2^53.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local integer = function(number) return string.format('%.0f', number) end
local states, refused = {}, false

for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local unit, total, cost = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local state = {allowed = 1, retry = 0, unit = unit, total = total, cost = cost}
  if ARGV[at + 1] == 'g' then
    -- Beyond the clock and the tolerance only when the clock went back.
    local arrival = math.min(math.max(tonumber(redis.call('GET', key) or now), now), now + total)
    state.after = arrival + cost * unit
    local slack = now + total - state.after
    if slack < 0 then
      state.allowed, state.retry, state.reset = 0, -slack, arrival - now
      state.remaining = math.max(0, math.floor((total - arrival + now) / unit))
    else
      state.remaining, state.reset = math.floor(slack / unit), state.after - now
    end
  else
    local first = redis.call('LINDEX', key, 0)
    while first and tonumber(first) <= now - total do
      redis.call('LPOP', key)
      first = redis.call('LINDEX', key, 0)
    end
    local last = redis.call('LINDEX', key, -1)
    while last and tonumber(last) > now do -- the clock went back
      redis.call('RPOP', key)
      last = redis.call('LINDEX', key, -1)
    end
    local count = redis.call('LLEN', key)
    local remaining = unit - count - cost
    if remaining < 0 then
      state.allowed, state.remaining = 0, unit - count
      state.retry = tonumber(redis.call('LINDEX', key, -remaining - 1)) + total - now
      state.reset = tonumber(redis.call('LINDEX', key, -1)) + total - now
    else
      state.remaining, state.reset = remaining, total
    end
  end
  if state.allowed == 0 and ARGV[at + 5] == '0' then refused = true end
  states[i] = state
end

local reply = {}
for i, key in ipairs(KEYS) do
  local at, state = (i - 1) * 5, states[i]
  local gcra = ARGV[at + 1] == 'g'
  if state.allowed == 1 and refused then
    state.remaining = state.remaining + state.cost
    if gcra then state.reset = math.max(0, state.reset - state.cost * state.unit) end
  elseif state.allowed == 1 and state.cost > 0 then
    if gcra then
      redis.call('SET', key, integer(state.after), 'PX', integer(math.ceil(state.reset / 1000)))
    else
      for _ = 1, state.cost do redis.call('RPUSH', key, integer(now)) end
      redis.call('PEXPIRE', key, integer(math.ceil(state.total / 1000)))
    end
  end
  table.insert(reply, state.allowed)
  table.insert(reply, state.remaining)
  table.insert(reply, state.reset)
  table.insert(reply, state.retry)
end
return reply
