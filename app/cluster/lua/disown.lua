-- Releases a SockJS session, unless another node has claimed it.
-- KEYS: owner of the session
-- ARGV: node
-- Returns 1.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
