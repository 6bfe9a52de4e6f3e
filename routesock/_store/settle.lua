-- Keeps what became of the request ARGV[1], which has claimed the key at KEYS[1]. The record is described in claim.lua.
--
-- ARGV: the token, the fingerprint, the new state (R or U, or an empty string to give the key up), the milliseconds for
-- which the record is kept, and the reply. Nothing happens if another request has the key, or the outcome is kept
-- already.

local record = redis.call('GET', KEYS[1])
if record and string.sub(record, 1, 33) ~= 'C' .. ARGV[1] then
  return 0
end
if ARGV[3] == '' then
  return redis.call('DEL', KEYS[1])
end
-- A record that the server has lost is written anew, so that the request does not run again.
redis.call('SET', KEYS[1], ARGV[3] .. ARGV[1] .. ARGV[2] .. string.rep('0', 13) .. ARGV[5], 'PX', ARGV[4])
return 1
