-- All that waits for a user: the inbox, and of the log what is persisted and not acknowledged. From now on all of it
-- counts as sent.
-- KEYS: inbox, log, head, acknowledged ids
-- ARGV: most bytes of a reply, most entries of the log
-- Returns {seq of the head, seq of the first message that no session has been sent or 0, 1, {JSON, …}, {JSON of the
-- log, …}, ms of the server's clock}; where the inbox is too large for one reply it is 0, {{id, bytes}, …} in place of
-- 1, {JSON, …}.
local inbox, log, head, acknowledged = unpack(KEYS)
local most = tonumber(ARGV[1])
local seq, kept, unread = string.match(redis.call('GET', head) or '', '^(%d+)( %d+ %d+ )(%d+)$')
local ids, stored, stored_bytes = redis.call('HKEYS', inbox), {}, 0
local entries = redis.call('LRANGE', log, -ARGV[2], -1)

local function persisted()
  for index = #entries, 1, -1 do
    local entry = entries[index]
    if string.find(string.sub(entry, -260), '"persisted":true,"accepted"', 1, true) then
      local id = string.match(entry, '^{"id":"([^"]*)"')
      stored_bytes = stored_bytes + #entry
      if stored_bytes > most then return end
      if id and not redis.call('ZSCORE', acknowledged, id) then stored[#stored + 1] = entry end
    end
  end
end

-- What is read may be acknowledged soon, and leaves the inbox then: the log must have it itself. A server that is out
-- of memory refuses these writes, and the messages can be read all the same.
local function count_as_sent()
  for index, entry in ipairs(entries) do
    local id, place = string.match(entry, '^{"id":"([^"]*)"(,"accepted":%d+,"previous":%d+),"waits":true,')
    local text = id and redis.call('HGET', inbox, id)
    if text and string.find(string.sub(text, -260), place .. ',', 1, true) then
      redis.pcall('LSET', log, index - #entries - 1, text)
    end
  end
  redis.pcall('SET', head, seq .. kept .. '0', 'KEEPTTL')
end

persisted()
if seq and unread ~= '0' then count_as_sent() end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sizes, total = {}, 0
for index, id in ipairs(ids) do
  local size = redis.call('HSTRLEN', inbox, id)
  sizes[index], total = {id, size}, total + size
end
if total <= most then return {seq or '0', unread or '0', 1, redis.call('HVALS', inbox), stored, now} end
return {seq or '0', unread or '0', 0, sizes, stored, now}
