-- A node says that it lives, and learns which others do. The score of a member is the time until which it counts as
-- living; `bury` makes it negative once what the node left is removed.
-- KEYS: nodes
-- ARGV: node, ms to live
-- Returns {1 if it was not there or had lapsed, living nodes, dead nodes, nodes buried for less than one life}.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local before = redis.call('ZSCORE', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. (ARGV[2] - now), '(0')
return {
  (before and tonumber(before) > now) and 0 or 1,
  redis.call('ZRANGE', KEYS[1], '(' .. now, '+inf', 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], 0, now, 'BYSCORE'),
  redis.call('ZRANGE', KEYS[1], '-inf', '(0', 'BYSCORE'),
}
