-- Stores a message for a user and tells the nodes where he has sessions: one step, or nothing.
-- KEYS: inbox
-- ARGV: id, JSON of the message, expires_ms, most messages, now_ms, channel, PUBLISH or SPUBLISH, header of the
--       payload, when to keep it: always, never, or unheard (if no node listens)
-- Answers {listening nodes, kept}, or {-1, JSON} of a message of this id that is there already, or {-2} for no room.
local inbox, id, json, expires, most, now = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local accepted = time[1] .. string.format('%06d', time[2])

local function value(unsent)
  return string.sub(json, 1, -2) .. ',"accepted":' .. accepted .. unsent .. ',"expires_ms":' .. expires .. '}'
end

local function is_over(entry)
  return tonumber(string.match(entry, '"expires_ms":(%d+)}$')) <= now
end

local function drop_expired()
  local entries = redis.call('HGETALL', inbox)
  for index = 1, #entries, 2 do
    if is_over(entries[index + 1]) then redis.call('HDEL', inbox, entries[index]) end
  end
end

-- True if there was room; the key lives as long as its newest message may.
local function store(unsent)
  redis.call('HSET', inbox, id, value(unsent))
  local count = redis.call('HLEN', inbox)
  if count > most then
    drop_expired()
    count = redis.call('HLEN', inbox)
    if count > most then
      redis.call('HDEL', inbox, id)
      return false
    end
  end
  if count == 1 then
    redis.call('PEXPIREAT', inbox, expires)
  else
    redis.call('PEXPIREAT', inbox, expires, 'GT')
  end
  return true
end

local keep = ARGV[9]
if keep ~= 'never' then
  local known = redis.call('HGET', inbox, id)
  if known and not is_over(known) then return {-1, known} end
end
if keep == 'always' and not store('') then return {-2} end
local heard = redis.call(ARGV[7], ARGV[6], ARGV[8] .. value(''))
if heard == 0 and keep == 'always' then
  redis.call('HSET', inbox, id, value(',"unsent":true'))
elseif heard == 0 and keep == 'unheard' then
  if not store(',"unsent":true') then return {-2} end
  return {0, 1}
end
return {heard, keep == 'always' and 1 or 0}
