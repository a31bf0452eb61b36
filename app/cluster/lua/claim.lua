-- Who has a session: the node that asks, if nobody has it, if it has it already, or if the owner is known to be gone.
-- KEYS: the session
-- ARGV: node, ms to live, the node that is gone or ''
-- Answers the owner.
local owner = redis.call('GET', KEYS[1])
if not owner or owner == ARGV[1] or owner == ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
return owner
