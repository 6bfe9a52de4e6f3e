-- Claims the key at KEYS[1] for the request ARGV[1], or says what became of the request that has it. MemoryKeys does
-- the same.
--
-- A record is a string: its state (C: claimed, R: replied, U: unknown), the token of the request (32 characters), the
-- fingerprint of what was asked for (32), the millisecond until which the request may run (13), then its reply.
-- ARGV: the token, the fingerprint, the milliseconds for which the request may run, and those for which the record is
-- kept. The reply: the outcome, and the reply of the earlier request.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local record = redis.call('GET', KEYS[1])
if not record then
  record = 'C' .. ARGV[1] .. ARGV[2] .. string.format('%013d', now + ARGV[3])
  redis.call('SET', KEYS[1], record, 'PX', ARGV[4])
  return {'claimed', ''}
end

local state = string.sub(record, 1, 1)
if state == 'C' and string.sub(record, 2, 33) == ARGV[1] then
  return {'claimed', ''} -- the connection broke, and the command was sent again
elseif string.sub(record, 34, 65) ~= ARGV[2] then
  return {'mismatch', ''}
elseif state == 'R' then
  return {'finished', string.sub(record, 79)}
elseif state == 'C' and now < tonumber(string.sub(record, 66, 78)) then
  return {'running', ''}
end
return {'unknown', ''}
