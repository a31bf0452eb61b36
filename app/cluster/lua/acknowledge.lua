-- Acknowledges messages of users: removes them from the inbox, and remembers their ids for a while.
-- KEYS: for each user: inbox, acknowledged ids, log, head
-- ARGV: ms to remember ids, most ids to remember; for each user: number of ids, id, …
-- Returns the number of users done. It ends early at a user whose keys cannot be used.
local life, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local argument = 3

-- A log entry of a message that no node received only refers to the inbox; from now on it needs the text.
local function move_to_log(log, ids, texts)
  for index, id in ipairs(ids) do
    local place, expires = string.match(string.sub(texts[index] or '', -260),
      '(,"accepted":%d+,"previous":%d+),"life_ms":[^{}]*,"unsent":true(,"expires_ms":%d+})$')
    local at = place and redis.pcall('LPOS', log, '{"id":"' .. id .. '"' .. place .. ',"waits":true' .. expires)
    if type(at) == 'number' then redis.pcall('LSET', log, at, texts[index]) end
  end
end

local function acknowledge(inbox, acknowledged, log, head)
  local last, marks = argument + tonumber(ARGV[argument]), {}
  local ids = {unpack(ARGV, argument + 1, last)}
  for _, id in ipairs(ids) do
    marks[#marks + 1] = now
    marks[#marks + 1] = id
  end
  local state = redis.pcall('GET', head) -- pcall: a broken head must not keep acknowledged messages in the inbox
  local referred = tonumber(type(state) == 'string' and string.match(state, '^%d+ %d+ %d+ %d+ (%d+)$') or 0)
  -- Usually the log has no such entries: they were trimmed, or the log has expired.
  local texts = referred > 0 and redis.call('EXISTS', log) == 1 and redis.call('HMGET', inbox, unpack(ids))
  redis.call('HDEL', inbox, unpack(ids)) -- the first write: it frees the memory that later writes may need
  if texts then move_to_log(log, ids, texts) end
  redis.call('ZADD', acknowledged, 'LT', unpack(marks)) -- a repeated acknowledgement keeps its time
  if redis.call('ZCARD', acknowledged) > most then redis.call('ZREMRANGEBYRANK', acknowledged, 0, -1 - most) end
  -- The key lives 10 % longer than needed, so that not every acknowledgement prolongs it.
  if redis.call('PTTL', acknowledged) < life then
    redis.call('ZREMRANGEBYSCORE', acknowledged, '-inf', now - life)
    redis.call('PEXPIRE', acknowledged, string.format('%.0f', life * 1.1))
  end
  argument = last + 1
end

acknowledge(unpack(KEYS, 1, 4))
for index = 5, #KEYS, 4 do
  if not pcall(acknowledge, unpack(KEYS, index, index + 3)) then return (index - 1) / 4 end
end
return #KEYS / 4
