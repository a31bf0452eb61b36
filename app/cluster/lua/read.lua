-- All that waits for a user: the inbox, and of the log what is persisted and not acknowledged. From now on all of it
-- counts as sent.
-- KEYS: inbox, mark of the first message that no session has been sent, log, head, acknowledged ids
-- ARGV: most bytes of a reply, most entries of the log
-- Returns {seq of the head, mark, 1, {JSON, …}, {JSON of the log, …}, ms of the server's clock}; where the inbox is too
-- large for one reply it is 0, {{id, bytes}, …} in place of 1, {JSON, …}.
local most = tonumber(ARGV[1])
local seq = string.match(redis.call('GET', KEYS[4]) or '', '^(%d+) %d+$') or '0'
local ids, stored, stored_bytes = redis.call('HKEYS', KEYS[1]), {}, 0

local entries = redis.call('LRANGE', KEYS[3], -ARGV[2], -1)
for index = #entries, 1, -1 do
  local entry = entries[index]
  if string.find(string.sub(entry, -260), '"persisted":true,"accepted"', 1, true) then
    local id = string.match(entry, '^{"id":"([^"]*)"')
    stored_bytes = stored_bytes + #entry
    if stored_bytes > most then break end
    if id and not redis.call('ZSCORE', KEYS[5], id) then stored[#stored + 1] = entry end
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if #ids == 0 and #stored == 0 then return {seq, '', 1, ids, stored, now} end
local mark = redis.call('GET', KEYS[2]) or ''
redis.call('DEL', KEYS[2]) -- and no mark that says so, which a server that is out of memory would refuse
local sizes, total = {}, 0
for index, id in ipairs(ids) do
  local size = redis.call('HSTRLEN', KEYS[1], id)
  sizes[index], total = {id, size}, total + size
end
if total <= most then return {seq, mark, 1, redis.call('HVALS', KEYS[1]), stored, now} end
return {seq, mark, 0, sizes, stored, now}
