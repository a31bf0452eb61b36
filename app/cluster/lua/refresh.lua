-- Sessions of one user on one node live on.
-- KEYS: sessions of the user
-- ARGV: ms to live, member, …
local time = redis.call('TIME')
local expires = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], expires, ARGV[index]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
