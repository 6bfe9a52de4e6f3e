-- Starts a new epoch of a history that was set back, as by a failover that has lost writes.
--
-- ARGV: a new epoch, the lifetime of the hash in milliseconds, the epoch and the offset that were seen, and '1' if it is
-- certain that other data was given one of these offsets.

local found = redis.call('HMGET', meta, 'e', 'o')
if found[1] == ARGV[3] and (ARGV[5] == '1' or tonumber(found[2]) < tonumber(ARGV[4])) then
  begin(0)
  redis.call('PEXPIRE', meta, ARGV[2])
end
return 1
