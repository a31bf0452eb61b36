-- Marks dead nodes whose records are removed, so that they are cleaned up after once. Nodes that came back stay.
-- KEYS: nodes
-- ARGV: dead node, …
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, node in ipairs(ARGV) do
  local score = tonumber(redis.call('ZSCORE', KEYS[1], node) or now + 1)
  if score >= 0 and score <= now then redis.call('ZADD', KEYS[1], -math.max(score, 1), node) end
end
