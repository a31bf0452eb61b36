-- A node has a session no more; if another has taken it over that stays so.
-- KEYS: the session
-- ARGV: node
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
return 1
