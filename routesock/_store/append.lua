-- Appends to the history of a group. MemoryHistories.append does the same.
--
-- KEYS: the stream, and the hash with the epoch (e) and the offset (o). ARGV: a new epoch, the number of entries to keep,
-- their lifetime and that of the hash in milliseconds, the data, and the id of the excluded member, or ''. The reply: the
-- epoch and the offset of the entry.

local stream, meta = KEYS[1], KEYS[2]
local epoch = redis.call('HGET', meta, 'e')
if not epoch then
  epoch = ARGV[1]
  redis.call('DEL', stream)
  redis.call('HSET', meta, 'e', epoch, 'o', 0)
end

local function add(offset)
  local id = '0-' .. string.format('%.0f', offset)
  if ARGV[6] == '' then
    return redis.pcall('XADD', stream, 'MAXLEN', '=', ARGV[2], id, 'd', ARGV[5])
  end
  return redis.pcall('XADD', stream, 'MAXLEN', '=', ARGV[2], id, 'd', ARGV[5], 'x', ARGV[6])
end

local offset = redis.call('HINCRBY', meta, 'o', 1)
local added = add(offset)
if type(added) == 'table' and added.err then
  -- The stream has a later entry, or is none: the hash was set back alone.
  epoch, offset = ARGV[1], 1
  redis.call('DEL', stream)
  redis.call('HSET', meta, 'e', epoch, 'o', offset)
  add(offset)
end
redis.call('PEXPIRE', stream, ARGV[3])
redis.call('PEXPIRE', meta, ARGV[4])
return {epoch, string.format('%.0f', offset)}
