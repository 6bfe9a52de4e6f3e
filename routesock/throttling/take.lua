-- Takes from all of the logs at KEYS, or from none if one of them has not enough left. MemoryStore does the same.
--
-- A log is a string: the number of its calls (u32), then for each time the microseconds (double) and the number of calls
-- (u32), oldest first. ARGV has for each key the limit, period and resolution of the window, and the cost. All times are
-- in microseconds. The reply: the time to wait, 0 if taken; then for each key the calls left and the time until there
-- are more.

local HEAD, ENTRY = '<I4', '<dI4'
local HEAD_SIZE, ENTRY_SIZE = 4, 12

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait = 0
local logs = {}

-- If the clock was set back, calls are in the future. They count as calls of now.
local function move_future_calls(entries, latest)
  local moved, future_calls, position = {}, 0, 1
  while position <= #entries do
    local time, calls
    time, calls, position = struct.unpack(ENTRY, entries, position)
    if time > latest then
      future_calls = future_calls + calls
    else
      moved[#moved + 1] = struct.pack(ENTRY, time, calls)
    end
  end
  moved[#moved + 1] = struct.pack(ENTRY, latest, future_calls)
  return table.concat(moved)
end

for i, key in ipairs(KEYS) do
  local limit, period = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local resolution, cost = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local when = math.ceil(now / resolution) * resolution
  local used, entries = 0, ''
  local packed = redis.call('GET', key)
  if packed then
    used = struct.unpack(HEAD, packed)
    entries = string.sub(packed, HEAD_SIZE + 1)
    if struct.unpack(ENTRY, entries, #entries - ENTRY_SIZE + 1) > when then
      entries = move_future_calls(entries, when)
    end
  end

  local first = 1
  while first <= #entries do
    local time, calls = struct.unpack(ENTRY, entries, first)
    if time > now - period then
      break
    end
    used = used - calls
    first = first + ENTRY_SIZE
  end

  local excess, position = used + cost - limit, first
  while excess > 0 do
    local time, calls
    time, calls, position = struct.unpack(ENTRY, entries, position)
    excess = excess - calls
    if excess <= 0 then
      wait = math.max(wait, time + period - now)
    end
  end
  logs[i] = {limit = limit, period = period, cost = cost, when = when, used = used, entries = string.sub(entries, first)}
end

local reply = {wait}
for i, key in ipairs(KEYS) do
  local log = logs[i]
  if wait == 0 and log.cost > 0 then
    log.used = log.used + log.cost
    local last = #log.entries - ENTRY_SIZE + 1
    local time, calls = 0, 0
    if last > 0 then
      time, calls = struct.unpack(ENTRY, log.entries, last)
    end
    if time == log.when then
      log.entries = string.sub(log.entries, 1, last - 1) .. struct.pack(ENTRY, time, calls + log.cost)
    else
      log.entries = log.entries .. struct.pack(ENTRY, log.when, log.cost)
    end
    local expiry = math.ceil((log.when + log.period - now) / 1000) + 1
    redis.call('SET', key, struct.pack(HEAD, log.used) .. log.entries, 'PX', string.format('%d', expiry))
  end
  reply[#reply + 1] = log.limit - log.used
  reply[#reply + 1] = #log.entries > 0 and struct.unpack(ENTRY, log.entries) + log.period - now or 0
end
return reply
