-- Takes from every limit of a request, or from none where one of them refuses.
-- KEYS: one for each limit. ARGV, five for each: algorithm (g or s), interval or limit, tolerance or period, cost, and
-- 1 where it has no say. Returns four numbers for each: allowed, remaining, and microseconds until all is back and until
-- a next try. Every number is a whole one below 2^53.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local whole = function(number) return string.format('%.0f', number) end
local found, refused = {}, false

for i, key in ipairs(KEYS) do
  local at = (i - 1) * 5
  local one, all, cost = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local state = {allowed = 1, retry = 0, one = one, all = all, cost = cost}
  if ARGV[at + 1] == 'g' then
    local arrival = math.max(tonumber(redis.call('GET', key) or now), now)
    state.after = arrival + cost * one
    local room = now + all - state.after
    if room < 0 then
      state.allowed, state.retry, state.reset = 0, -room, arrival - now
      state.remaining = math.max(0, math.floor((all - arrival + now) / one))
    else
      state.remaining, state.reset = math.floor(room / one), state.after - now
    end
  else
    local first = redis.call('LINDEX', key, 0)
    while first and tonumber(first) <= now - all do
      redis.call('LPOP', key)
      first = redis.call('LINDEX', key, 0)
    end
    local count = redis.call('LLEN', key)
    local room = one - count - cost
    if room < 0 then
      state.allowed, state.remaining = 0, one - count
      state.retry = tonumber(redis.call('LINDEX', key, -room - 1)) + all - now
      state.reset = tonumber(redis.call('LINDEX', key, -1)) + all - now
    else
      state.remaining, state.reset = room, all
    end
  end
  if state.allowed == 0 and ARGV[at + 5] == '0' then refused = true end
  found[i] = state
end

local reply = {}
for i, key in ipairs(KEYS) do
  local at, state = (i - 1) * 5, found[i]
  local counted = ARGV[at + 1] == 'g'
  if state.allowed == 1 and refused then
    state.remaining = state.remaining + state.cost
    if counted then state.reset = math.max(0, state.reset - state.cost * state.one) end
  elseif state.allowed == 1 and state.cost > 0 then
    if counted then
      redis.call('SET', key, whole(state.after), 'PX', whole(math.ceil(state.reset / 1000)))
    else
      for _ = 1, state.cost do redis.call('RPUSH', key, whole(now)) end
      redis.call('PEXPIRE', key, whole(math.ceil(state.all / 1000)))
    end
  end
  table.insert(reply, state.allowed)
  table.insert(reply, state.remaining)
  table.insert(reply, state.reset)
  table.insert(reply, state.retry)
end
return reply
