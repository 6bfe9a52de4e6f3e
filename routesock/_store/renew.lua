-- Starts a new epoch of a history that was set back, as by a failover that has lost writes.
--
-- KEYS: the stream and the hash, as for append.lua. ARGV: a new epoch, the lifetime of the hash in milliseconds, the
-- epoch and the offset that were seen, and '1' if it is certain that other data was given one of these offsets.

local stream, meta = KEYS[1], KEYS[2]
local found = redis.call('HMGET', meta, 'e', 'o')
if found[1] == ARGV[3] and (ARGV[5] == '1' or tonumber(found[2]) < tonumber(ARGV[4])) then
  redis.call('DEL', stream)
  redis.call('HSET', meta, 'e', ARGV[1], 'o', 0)
  redis.call('PEXPIRE', meta, ARGV[2])
end
return 1
