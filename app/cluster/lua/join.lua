-- Counts a session in, unless its user is at the limit. Times are of the server's clock, the same for all nodes.
-- A session that names its device replaces the older session of that device, on whatever node. The value of a device is
-- the turn of its session (ms, growing), its member, and `sure` once the session was refreshed.
-- KEYS: sessions of the user, devices of the user
-- ARGV: member, most sessions, lifetime in ms, device or '', member that has ended, …
-- Returns {1, turn, member that was replaced or ''}, or {0, {member, …}} of the live sessions if there are too many.
local sessions, devices = KEYS[1], KEYS[2]
local member, most, life, device = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', sessions, '-inf', now)
for index = 5, #ARGV do redis.call('ZREM', sessions, ARGV[index]) end

local turn, replaced = now, ''
local known = device ~= '' and redis.call('HGET', devices, device) or ''
local before, older = known:match('^(%d+) (%S+)')
if before then
  turn = math.max(now, before + 1)
  if older ~= member and redis.call('ZREM', sessions, older) == 1 then replaced = older end
end
if replaced == '' and redis.call('ZCARD', sessions) >= most and not redis.call('ZSCORE', sessions, member) then
  return {0, redis.call('ZRANGE', sessions, 0, -1)}
end
redis.call('ZADD', sessions, now + life, member)
redis.call('PEXPIRE', sessions, life)
if device == '' then return {1, turn, ''} end

if redis.call('HLEN', devices) >= 2 * redis.call('ZCARD', sessions) then -- many are stale: remove them, rarely
  local all = redis.call('HGETALL', devices)
  for index = 1, #all, 2 do
    local owner = all[index + 1]:match(' (%S+)') or ''
    if not redis.call('ZSCORE', sessions, owner) then redis.call('HDEL', devices, all[index]) end
  end
end
redis.call('HSET', devices, device, string.format('%.0f %s', turn, member))
redis.call('PEXPIRE', devices, life)
return {1, turn, replaced}
