-- Title: Encrypted DNS of others
-- Description: Public services of DNS over HTTPS, TLS and QUIC, by which programs get answers past this resolver. Their addresses are on it for packet filters; do not load those where your own upstream is among them.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: 68ec4ee5c685
-- Syntax: dnsdist script
-- Usage: dnsdist: dofile('FILE')
-- Number of entries: 63
-- Note: 94 rules have a pattern, a condition or an answer that this format cannot say
local rules = [[
0 tree canadianshield.cira.ca
0 tree doh.sb
0 tree dns.sb
0 tree doh.pub
0 tree dns.pub
0 tree dot.pub
0 tree dnsforge.de
0 tree dns.google
0 tree one.one.one.one
0 tree router.comss.one
0 tree dns.comss.one
0 tree doh.cleanbrowsing.org
0 tree adult-filter-dns.cleanbrowsing.org
0 tree family-filter-dns.cleanbrowsing.org
0 tree security-filter-dns.cleanbrowsing.org
0 tree wikimedia-dns.org
0 tree dns.switch.ch
0 tree dns.digitale-gesellschaft.ch
0 tree dns.bebasid.com
0 tree antivirus.bebasid.com
0 tree internetsehat.bebasid.com
0 tree freedns.controld.com
0 tree dns.adguard.com
0 exact canary-bypass.example.com
0 tree doh.dns.apple.com
0 tree dns.cloudflare.com
0 tree dns.dnswarden.com
0 tree adguard-dns.com
0 tree cloudflare-dns.com
0 tree dns.alidns.com
0 tree basic.rethinkdns.com
0 tree dns.surfsharkdns.com
0 tree doh.familyshield.opendns.com
0 tree doh.opendns.com
0 tree doh.sandbox.opendns.com
0 tree dns.decloudus.com
0 tree doh.360.cn
0 tree dns.nextdns.io
0 tree public.dns.iij.jp
0 tree doh.libredns.gr
0 tree dns10.quad9.net
0 tree dns11.quad9.net
0 tree dns.quad9.net
0 tree doh.ffmuc.net
0 tree doh.mullvad.net
0 tree dns.mullvad.net
0 tree ada.openbld.net
0 tree ric.openbld.net
0 tree ordns.he.net
0 tree doh-pure.onedns.net
0 tree doh.onedns.net
0 tree safe.dot.dns.yandex.net
0 tree common.dot.dns.yandex.net
0 tree family.dot.dns.yandex.net
0 tree doh.applied-privacy.net
0 tree zero.dns0.eu
0 tree unfiltered.joindns4.eu
0 tree child.joindns4.eu
0 tree protective.joindns4.eu
0 tree child-noads.joindns4.eu
0 tree noads.joindns4.eu
0 tree dns.twnic.tw
0 tree odvr.nic.cz
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
