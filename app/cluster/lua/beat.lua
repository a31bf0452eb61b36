-- A node says that it lives, and learns who else does.
-- KEYS: nodes
-- ARGV: node, ms to live
-- Answers {1 if it was not there or had lapsed, living nodes, dead nodes}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return {
  (before and tonumber(before) > now) and 0 or 1,
  redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], '-inf', now, 'BYSCORE'),
}
