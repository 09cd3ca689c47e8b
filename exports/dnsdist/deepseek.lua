-- Title: DeepSeek
-- Description: Names of the DeepSeek chat assistant, its API and apps, of the third parties that its login and apps talk to, and of look-alike sites, each with public evidence.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: f5bb87bceb1c
-- Syntax: dnsdist script
-- Usage: dnsdist: dofile('FILE')
-- Number of entries: 49
local rules = [[
0 tree deepseekweb.cc
0 tree deepseekapi.cc
0 tree aideepseek.cc
0 tree deepseekapp.cc
0 tree deepseekplus.cc
0 tree deepseekv3.org
0 tree deepseekap.org
0 tree deepseekv3.tech
0 tree deepseeksr1.com
0 tree deepseeksvc.com
0 tree captcha.fengkongcloud.com
0 tree api-fp-retry-bj.fengkongcloud.com
0 tree fp-it-tracker.fengkongcloud.com
0 tree fp-it.fengkongcloud.com
0 exact canary-deepseek.example.com
0 tree deepseeksai.com
0 tree deeeseek.com
0 tree hk-deepseek.com
0 tree deepseek.com
0 tree deepseekem.com
0 tree lf3-data.volccdn.com
0 tree deepseek-go.com
0 tree apmplus.ap-southeast-1.volces.com
0 tree tab.volces.com
0 tree gator.volces.com
0 tree apmplus.volces.com
0 tree deepseekss.com
0 tree cmpassport.com
0 tree portal101.cn
0 tree fengkongcloud.cn
0 tree ch-deepseek.com.cn
0 tree ai-deepseek.com.cn
0 tree cn-deepseek.com.cn
0 tree app-deepseek.com.cn
0 tree deepsiek.com.cn
0 tree deepssek.com.cn
0 tree deepseik.com.cn
0 tree www.deepseekk.com.cn
0 tree deepaesk.com.cn
0 tree deepsesk.com.cn
0 tree ai-deepseel.com.cn
0 tree deepseekl.com.cn
0 tree app-deepseekcn.com.cn
0 tree deepseek-desktop.com.cn
0 tree deepseekapp.com.cn
0 tree deepseek-fit.com.cn
0 tree deepseekv3.net
0 tree deepseekcn.cyou
0 tree deepseekaigo.cyou
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
