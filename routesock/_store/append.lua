-- Appends to the history of a group. MemoryHistories.append does the same.
--
-- ARGV: a new epoch, the number of entries to keep, their lifetime and that of the hash in milliseconds, the data, the id of
-- the excluded member, or '', and '1' for the first append of a sender since it has connected, which looks who has begun the
-- epoch. The reply: the epoch and the offset of the entry.

local epoch = redis.call('HGET', meta, 'e')
if not epoch or (ARGV[7] == '1' and was_begun_elsewhere(redis.call('HGET', meta, 'r'))) then
  epoch = begin(0)
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
  epoch, offset = begin(1), 1
  add(offset)
end
redis.call('PEXPIRE', stream, ARGV[3])
redis.call('PEXPIRE', meta, ARGV[4])
return {epoch, string.format('%.0f', offset)}
