-- Appends to the history of a group. MemoryHistories.append does the same.
--
-- ARGV: a new epoch, the number of entries to keep, their lifetime and that of the hash in milliseconds, the data, the id of
-- the excluded member, or '', and '1' for the first append over a connection, which looks whether the epoch can go on. Then
-- follow the epoch of the last entry that the process has appended, or '', and the milliseconds since. The reply: the epoch
-- and the offset of the entry.

-- Whether the last entry of the process is in another epoch, which was not over when this one had begun. For a while there
-- were two primaries then, and the entry was lost with the other one. Clients that were here already do not know of it.
local function lacks_the_last(epoch)
  return ARGV[8] ~= '' and ARGV[8] ~= epoch and now() - tonumber(redis.call('HGET', meta, 'b') or 0) >= tonumber(ARGV[9])
end

local epoch = redis.call('HGET', meta, 'e')
if not epoch or (ARGV[7] == '1' and (was_begun_elsewhere(redis.call('HGET', meta, 'r')) or lacks_the_last(epoch))) then
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
