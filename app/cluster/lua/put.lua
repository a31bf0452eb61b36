-- Stores a message for a user and tells the nodes where he has sessions: one step, or nothing.
-- KEYS: inbox, its mark of a look for what has expired
-- ARGV: id, JSON of the message, expires_ms, most messages, now_ms, channel, PUBLISH or SPUBLISH, header of the
--       payload, when to keep it: always, never, or unheard (if no node listens)
-- Answers {listening nodes, kept}, or {-1, JSON} of a message of this id that is there already, or {-2} for no room.
local inbox, id, json, expires, most, now = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local accepted = time[1] .. string.format('%06d', time[2])

local function value(unsent)
  return string.sub(json, 1, -2) .. ',"accepted":' .. accepted .. unsent .. ',"expires_ms":' .. expires .. '}'
end

-- What is no message of ours is over, too. To look through a whole text takes longer than all else here.
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

-- True if there was room.
local function store(unsent)
  redis.call('HSET', inbox, id, value(unsent))
  if redis.call('HLEN', inbox) > most then
    drop_expired()
    if redis.call('HLEN', inbox) > most then
      redis.call('HDEL', inbox, id)
      return false
    end
  end
  return true
end

-- The key lives as long as its newest message may, also if the clocks of node and server differ. The last step: a time
-- that has passed removes it at once.
local function limit_life()
  local life = string.format('%.0f', expires - now)
  if redis.call('HLEN', inbox) == 1 or redis.call('PTTL', inbox) < 0 then
    redis.call('PEXPIRE', inbox, life)
  else
    redis.call('PEXPIRE', inbox, life, 'GT')
  end
end

local keep = ARGV[9]
if keep ~= 'never' then
  local known = redis.call('HGET', inbox, id)
  if known and not is_over(known) then return {-1, known} end
end
if keep == 'always' and not store('') then return {-2} end
local heard = redis.call(ARGV[7], ARGV[6], ARGV[8] .. value(''))
if heard == 0 and keep ~= 'never' then
  if not store(',"unsent":true') then return {-2} end
  keep = 'always'
end
if keep ~= 'always' then return {heard, 0} end
limit_life()
return {heard, 1}
