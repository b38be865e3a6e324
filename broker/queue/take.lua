-- Takes nudges off the queues and finds the other arq jobs that are due and run nowhere.
-- KEYS: queues. ARGV: jobs to look at in each queue; slots the caller has free; bells to take at most.
-- Returns, flat, the 1-based queue and the id of each such other job, at most as many as slots.
local look, free, bells = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local jobs = {}
for i, queue in ipairs(KEYS) do
  local nudges, payloads = {}, {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, look)) do
    if string.sub(id, 1, 6) == 'nudge:' then
      nudges[#nudges + 1] = id
      payloads[#payloads + 1] = 'arq:job:' .. id
    elseif #jobs < 2 * free and redis.call('EXISTS', 'arq:in-progress:' .. id) == 0 then
      jobs[#jobs + 1] = i
      jobs[#jobs + 1] = id
    end
  end
  if #nudges > 0 then
    redis.call('ZREM', queue, unpack(nudges))
    redis.call('DEL', unpack(payloads))
  end
  -- A bell stands for a batch, and the caller is about to claim as many as it has slots: it takes their bells
  -- along, or each would wake it once more for nothing. The rest wakes others.
  while bells > 0 and redis.call('LPOP', queue .. ':bell') do bells = bells - 1 end
end
return jobs
