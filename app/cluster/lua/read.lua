-- Returns all that waits for a user: the inbox, and the persisted, unacknowledged messages of the log. From now on all
-- of them count as sent.
-- KEYS: inbox, log, head, acknowledged ids
-- ARGV: most bytes of a reply, most entries of the log
-- Returns {seq of the head, seq of the first message that no session has been sent or 0, 1, {JSON, …}, {JSON of the
-- log, …}, ms of the server's clock}; where the inbox is too large for one reply it is 0, {{id, bytes}, …} in place of
-- 1, {JSON, …}.
local inbox, log, head, acknowledged = unpack(KEYS)
local most = tonumber(ARGV[1])
local seq, middle, unread, last =
  string.match(redis.call('GET', head) or '', '^(%d+)( %d+ %d+ )(%d+)( %d+)$')
local ids, stored, stored_bytes = redis.call('HKEYS', inbox), {}, 0

-- The data of a message may end with the same words, but then a brace follows.
local function is_persisted(entry)
  local tail = string.sub(entry, -260)
  return string.find(tail, '"persisted":true,"accepted"', 1, true)
    and string.find(tail, '"persisted":true,"accepted":%d+,"previous":%d+,[^{}]*}$')
end

local entries = redis.call('LRANGE', log, -ARGV[2], -1)
for index = #entries, 1, -1 do
  local entry = entries[index]
  if is_persisted(entry) then
    local id = string.match(entry, '^{"id":"([^"]*)"')
    stored_bytes = stored_bytes + #entry
    if stored_bytes > most then break end
    if id and not redis.call('ZSCORE', acknowledged, id) then stored[#stored + 1] = entry end
  end
end

-- This fails while the server is out of memory, but the messages can still be read.
if seq and unread ~= '0' then redis.pcall('SET', head, seq .. middle .. '0' .. last, 'KEEPTTL') end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local sizes, total = {}, 0
for index, id in ipairs(ids) do
  local size = redis.call('HSTRLEN', inbox, id)
  sizes[index], total = {id, size}, total + size
end
if total <= most then return {seq or '0', unread or '0', 1, redis.call('HVALS', inbox), stored, now} end
return {seq or '0', unread or '0', 0, sizes, stored, now}
