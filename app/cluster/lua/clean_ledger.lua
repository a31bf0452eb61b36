-- One bounded step over a ledger: removes the records of nodes that are no more.
-- KEYS: ledger
-- ARGV: cursor, records to look at, dead node, …
-- Answers {next cursor, removed}.
local dead = {}
for index = 3, #ARGV do dead[ARGV[index]] = true end
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local removed = 0
for index = 1, #page[2], 2 do
  local node = string.match(string.sub(page[2][index + 1], -100), '"node":"([^"]*)"}$')
  if node and dead[node] then removed = removed + redis.call('HDEL', KEYS[1], page[2][index]) end
end
return {page[1], removed}
