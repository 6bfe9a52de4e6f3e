-- The beginning of append.lua, read.lua and renew.lua.
--
-- KEYS: the stream, and the hash with the epoch (e), when it began in milliseconds (b), the server that has begun it (r) and
-- the offset (o). ARGV[1] is a new epoch. The stream has ids 0-<offset>, and the fields d (the data) and x (the id of the
-- excluded member).

local stream, meta = KEYS[1], KEYS[2]

local function info(section, name)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and string.match(text, name .. ':(%x+)') or ''
end

-- The id of the running server, and that of its writes, which changes when a replica is promoted. A server may be a replica
-- for a while, and lose what it had written before. '' for a user who may not call INFO.
local function server()
  return info('server', 'run_id') .. info('replication', 'master_replid')
end

local function now()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end

-- Whether another server than this one, known, has begun the epoch. Then the history may lack its last entries, and may have
-- given their offsets to others: a replica was promoted, or the server was restarted.
local function was_begun_elsewhere(known)
  local current = server()
  if current ~= '' and (not known or known == '') then
    redis.call('HSET', meta, 'r', current)
    return false
  end
  return current ~= '' and known ~= current
end

local function begin(offset)
  redis.call('DEL', stream)
  redis.call('HSET', meta, 'e', ARGV[1], 'o', offset, 'r', server(), 'b', string.format('%.0f', now()))
  return ARGV[1]
end

