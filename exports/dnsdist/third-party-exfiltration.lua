-- Title: Telemetry and third parties of generative AI
-- Description: Names that AI services send data to beside their own answers: their telemetry, fingerprinting, identity services and analytics of others. Blocking it alone leaves most services usable.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: 7df62884a919
-- Syntax: dnsdist script
-- Usage: dnsdist: dofile('FILE')
-- Number of entries: 21
local rules = [[
0 tree statsig.anthropic.com
0 tree harness-telemetry.deepseeksvc.com
0 tree captcha.fengkongcloud.com
0 tree api-fp-retry-bj.fengkongcloud.com
0 tree fp-it-tracker.fengkongcloud.com
0 tree fp-it.fengkongcloud.com
0 exact canary-third-party-exfiltration.example.com
0 tree hif-leim.deepseek.com
0 tree hif-dliq.deepseek.com
0 tree lf3-data.volccdn.com
0 tree apmplus.ap-southeast-1.volces.com
0 tree tab.volces.com
0 tree gator.volces.com
0 tree apmplus.volces.com
0 exact copilot-telemetry-service.githubusercontent.com
0 tree copilot-telemetry.githubusercontent.com
0 tree cmpassport.com
0 tree portal101.cn
0 tree fengkongcloud.cn
0 exact o33249.ingest.sentry.io
0 exact openaicom.imgix.net
]]
local trees, names, blocked = {}, {}, nil
for level, scope, name in rules:gmatch("(%d) (%l+) (%S+)") do
  if not trees[level] then trees[level], names[level] = newSuffixMatchNode(), newDNSNameSet() end
  if scope == "tree" then trees[level]:add(newDNSName(name)) else names[level]:add(newDNSName(name)) end
end
for _, level in ipairs({"0", "1", "2", "3", "4", "5"}) do
  if trees[level] then
    local found = OrRule({SuffixMatchNodeRule(trees[level], true), QNameSetRule(names[level])})
    if level % 2 == 1 then
      blocked = blocked and AndRule({blocked, NotRule(found)})
    else
      blocked = blocked and OrRule({blocked, found}) or found
    end
  end
end
if blocked then addAction(blocked, RCodeAction(DNSRCode.NXDOMAIN)) end
