-- Reads the history of a group. MemoryHistories.read and latest do the same.
--
-- ARGV: a new epoch, the lifetime of the hash in milliseconds, the epoch that the reader knows, the id of the entry that
-- it wants first, the most bytes, and how many of the newest entries to read instead, or 0. The reply: the epoch, the
-- offset of the last entry ever, and the entries: none if the first is not there, or they have more bytes.
--
-- The entries are two strings, since redis-py takes some 30 us to parse each entry of a nested reply without hiredis. The
-- first has three numbers for each entry: its offset, and the bytes of its data and of the id of the excluded member, 0
-- without one. The second has these data and ids, joined.

local numbers, texts = {}, {}

local function add(entry)
  local fields, count = entry[2], #numbers
  local data, excluded = fields[2], fields[4]
  numbers[count + 1] = string.sub(entry[1], 3) -- behind '0-'
  numbers[count + 2] = #data
  numbers[count + 3] = excluded and #excluded or 0
  texts[#texts + 1] = data
  texts[#texts + 1] = excluded
end

local found = redis.call('HMGET', meta, 'e', 'o', 'r')
local epoch, top = found[1], found[2]
if not epoch or not top or was_begun_elsewhere(found[3]) then
  epoch, top = begin(0), '0'
end
redis.call('PEXPIRE', meta, ARGV[2])

if ARGV[6] ~= '0' then
  for _, entry in ipairs(redis.call('XREVRANGE', stream, '+', '-', 'COUNT', ARGV[6])) do
    add(entry)
  end
elseif epoch == ARGV[3] then
  local start, size, most = ARGV[4], 0, tonumber(ARGV[5])
  if #redis.call('XRANGE', stream, start, start) == 0 then
    return {epoch, top, '', ''}
  end
  repeat
    local batch = redis.call('XRANGE', stream, start, '+', 'COUNT', 100)
    for _, entry in ipairs(batch) do
      size = size + #entry[2][2]
      if size > most then
        return {epoch, top, '', ''}
      end
      add(entry)
    end
    if #batch > 0 then -- without '(': exclusive ranges came with Redis 6.2
      start = '0-' .. string.format('%.0f', tonumber(string.match(batch[#batch][1], '%d+$')) + 1)
    end
  until #batch < 100
end
return {epoch, top, table.concat(numbers, ' '), table.concat(texts)}
