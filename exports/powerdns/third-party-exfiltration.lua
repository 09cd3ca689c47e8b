-- Title: Telemetry and third parties of generative AI
-- Description: Names that AI services send data to beside their own answers: their telemetry, fingerprinting, identity services and analytics of others. Blocking it alone leaves most services usable.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: 7df62884a919
-- Syntax: PowerDNS Recursor script
-- Usage: PowerDNS Recursor: lua-dns-script=FILE
-- Number of entries: 21
-- Effect: NXDOMAIN for every type of record
local rules = [[
block tree statsig.anthropic.com
block tree harness-telemetry.deepseeksvc.com
block tree captcha.fengkongcloud.com
block tree api-fp-retry-bj.fengkongcloud.com
block tree fp-it-tracker.fengkongcloud.com
block tree fp-it.fengkongcloud.com
block exact canary-third-party-exfiltration.example.com
block tree hif-leim.deepseek.com
block tree hif-dliq.deepseek.com
block tree lf3-data.volccdn.com
block tree apmplus.ap-southeast-1.volces.com
block tree tab.volces.com
block tree gator.volces.com
block tree apmplus.volces.com
block exact copilot-telemetry-service.githubusercontent.com
block tree copilot-telemetry.githubusercontent.com
block tree cmpassport.com
block tree portal101.cn
block tree fengkongcloud.cn
block exact o33249.ingest.sentry.io
block exact openaicom.imgix.net
]]
local exact, below = {}, {}
for action, scope, name in rules:gmatch("(%l+) (%l+) (%S+)") do
  if scope ~= "subdomains" then exact[name] = action end
  if scope ~= "exact" then below[name] = action end
end
function preresolve(dq)
  local name = newDN(dq.qname:toString())
  local action = exact[name:toStringNoDot():lower()]
  while not action and name:chopOff() do
    action = below[name:toStringNoDot():lower()]
  end
  if action ~= "block" then return false end
  dq.rcode = pdns.NXDOMAIN
  return true
end
