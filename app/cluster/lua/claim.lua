-- Claims a SockJS session for a node, if the session is free, already its own, or of a node known to have ended.
-- KEYS: owner of the session
-- ARGV: node, lifetime in ms, node that has ended or ''
-- Returns the owner.
local owner = redis.call('GET', KEYS[1])
if not owner or owner == ARGV[1] or owner == ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
return owner
