-- Alternate GET and POST, so that a request that is lost is not hidden by a proxy that sends it again.
local body = string.rep("x", 1000)
local count = 0

request = function()
  count = count + 1
  if count % 2 == 0 then
    return wrk.format("POST", "/write", nil, body)
  end
  return wrk.format("GET", "/pid")
end
