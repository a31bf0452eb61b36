-- Accepts a message for a user and publishes it to the nodes that watch the user: one step, or nothing.
-- KEYS: inbox, its mark of a search for expired messages, log, head, mark of the first message that no session has been
--       sent, for `given` the mark of the id, for `stored` and `again` the acknowledged ids, and at last the description
--       of the message unless ARGV has none
-- ARGV: id, JSON of the message, expires_ms, most messages, now_ms, channel, PUBLISH or SPUBLISH, header of the
--       payload, when the inbox keeps it (always, never, or unheard: if no node listens), ms that the log keeps it,
--       new, given (the caller chose the id), stored (a persisted message) or again (one that may have been accepted
--       before), digest of the content, description of the message or '', ms that it is kept
-- Returns {listening nodes, kept, seq, previous seq} and ms of the acknowledgement if there is one, {-1, digest} for a known id, or {-2} if the inbox is full.
local inbox, log, head = KEYS[1], KEYS[3], KEYS[4]
local id, json, life, most = ARGV[1], ARGV[2], ARGV[3] - ARGV[5], tonumber(ARGV[4])
local keep, window, kind, digest = ARGV[9], tonumber(ARGV[10]), ARGV[11], ARGV[12]

local function is_in_log()
  local start = '{"id":"' .. id .. '"'
  for _, entry in ipairs(redis.call('LRANGE', log, -1000, -1)) do
    if string.sub(entry, 1, #start) == start then return true end
  end
  return false
end

if kind == 'given' then
  local known = redis.call('GET', KEYS[6])
  if known then return {-1, known} end
elseif kind == 'again' and is_in_log() then
  return {-1, ''}
end
-- A device may have found a persisted message in the archive and acknowledged it before this put arrived.
local acked = (kind == 'stored' or kind == 'again') and tonumber(redis.call('ZSCORE', KEYS[6], id) or nil)

-- The sequence number is the time in µs, and always above the one before it.
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local state = redis.call('GET', head)
local previous, floor = string.match(state or '0 0', '^(%d+) (%d+)$')
previous, floor = tonumber(previous) or 0, tonumber(floor) or 0
local seq = math.max(now_us, previous + 1)
-- The clocks of nodes may be wrong: a message lives so long by the server's.
local now = math.floor(now_us / 1000)
local stamp = string.format(',"accepted":%.0f,"previous":%.0f,"life_ms":%.0f', seq, previous, life)
if acked then stamp = stamp .. string.format(',"acked":%.0f', acked) end
local expires = string.format('%.0f', now + life)

local function value(unsent)
  return string.sub(json, 1, -2) .. stamp .. unsent .. ',"expires_ms":' .. expires .. '}'
end

-- A foreign entry counts as expired. Matching the tail alone is much cheaper than the whole text.
local function is_over(entry)
  return (tonumber(string.match(string.sub(entry, -40), '"expires_ms":(%d+)}$')) or 0) <= now
end

-- At most once a second: it reads the whole inbox, and callers may go on pushing to a user who is away.
local function drop_expired()
  if not redis.call('SET', KEYS[2], '1', 'PX', 1000, 'NX') then return end
  local entries = redis.call('HGETALL', inbox)
  for index = 1, #entries, 2 do
    if is_over(entries[index + 1]) then redis.call('HDEL', inbox, entries[index]) end
  end
end

local function has_room()
  if redis.call('HLEN', inbox) < most then return true end
  drop_expired()
  return redis.call('HLEN', inbox) < most
end

-- The log drops at most two entries for each that it takes. The floor is the last entry that it dropped.
local function trim(length)
  if length == 1 then
    floor = previous
    return
  end
  for _ = 1, 2 do
    local oldest = redis.call('LINDEX', log, 0)
    local at = tonumber(string.match(string.sub(oldest, -200), '"accepted":(%d+),"previous"')) or 0
    if at >= now_us - window * 1000 then return end
    redis.call('LPOP', log)
    floor = at
  end
end

-- The key lives as long as its newest message may. The last step: a time that has passed removes it at once.
local function limit_life()
  if redis.call('HLEN', inbox) == 1 or redis.call('PTTL', inbox) < 0 then
    redis.call('PEXPIRE', inbox, string.format('%.0f', life))
  else
    redis.call('PEXPIRE', inbox, string.format('%.0f', life), 'GT')
  end
end

if keep == 'always' and not has_room() then return {-2} end
-- The first write: a server that is out of memory refuses it, and nothing is half done.
local text = value('')
local length = redis.call('RPUSH', log, text)
local heard = redis.call(ARGV[7], ARGV[6], ARGV[8] .. text)
if heard == 0 then
  if keep == 'unheard' then
    if not has_room() then
      redis.call('RPOP', log)
      return {-2}
    end
    keep = 'always'
  end
  text = value(',"unsent":true')
  redis.call('LSET', log, -1, text)
  local lasts = string.format('%.0f', math.max(1, life, window))
  if not redis.call('SET', KEYS[5], string.format('%.0f', seq), 'NX', 'PX', lasts) then
    redis.call('PEXPIRE', KEYS[5], lasts, 'GT')
  end
end
trim(length)
redis.call('PEXPIRE', log, window)
redis.call('SET', head, string.format('%.0f %.0f', seq, floor), 'PX', math.max(3600000, window))
if kind == 'given' then
  redis.call('SET', KEYS[6], digest, 'PX', string.format('%.0f', math.max(1, life)))
end
if keep == 'always' then
  redis.call('HSET', inbox, id, text)
  limit_life()
end
if ARGV[13] ~= '' then redis.call('SET', KEYS[#KEYS], ARGV[13] .. heard, 'PX', ARGV[14]) end
return {heard, keep == 'always' and 1 or 0, seq, previous, acked or nil}
