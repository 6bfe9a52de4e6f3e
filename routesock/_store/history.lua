-- The beginning of append.lua, read.lua and renew.lua.
--
-- KEYS: the stream, and the hash with the epoch (e), the offset (o) and the server that has begun the epoch (r). ARGV[1] is
-- a new epoch. The stream has ids 0-<offset>, and the fields d (the data) and x (the id of the excluded member).

local stream, meta = KEYS[1], KEYS[2]

-- The id of the running server; '' for a user who may not call INFO.
local function server()
  local info = redis.pcall('INFO', 'server')
  return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
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
  redis.call('HSET', meta, 'e', ARGV[1], 'o', offset, 'r', server())
  return ARGV[1]
end

