-- Title: Encrypted DNS of others
-- Description: Public services of DNS over HTTPS, TLS and QUIC, by which programs get answers past this resolver. Their addresses are on it for packet filters; do not load those where your own upstream is among them.
-- License: MIT
-- Expires: 1 day
-- Last modified: 2026-11-23
-- Version: 68ec4ee5c685
-- Syntax: PowerDNS Recursor script
-- Usage: PowerDNS Recursor: lua-dns-script=FILE
-- Number of entries: 63
-- Effect: NXDOMAIN for every type of record
-- Note: 94 rules have a pattern, a condition or an answer that this format cannot say
local rules = [[
block tree canadianshield.cira.ca
block tree doh.sb
block tree dns.sb
block tree doh.pub
block tree dns.pub
block tree dot.pub
block tree dnsforge.de
block tree dns.google
block tree one.one.one.one
block tree router.comss.one
block tree dns.comss.one
block tree doh.cleanbrowsing.org
block tree adult-filter-dns.cleanbrowsing.org
block tree family-filter-dns.cleanbrowsing.org
block tree security-filter-dns.cleanbrowsing.org
block tree wikimedia-dns.org
block tree dns.switch.ch
block tree dns.digitale-gesellschaft.ch
block tree dns.bebasid.com
block tree antivirus.bebasid.com
block tree internetsehat.bebasid.com
block tree freedns.controld.com
block tree dns.adguard.com
block exact canary-bypass.example.com
block tree doh.dns.apple.com
block tree dns.cloudflare.com
block tree dns.dnswarden.com
block tree adguard-dns.com
block tree cloudflare-dns.com
block tree dns.alidns.com
block tree basic.rethinkdns.com
block tree dns.surfsharkdns.com
block tree doh.familyshield.opendns.com
block tree doh.opendns.com
block tree doh.sandbox.opendns.com
block tree dns.decloudus.com
block tree doh.360.cn
block tree dns.nextdns.io
block tree public.dns.iij.jp
block tree doh.libredns.gr
block tree dns10.quad9.net
block tree dns11.quad9.net
block tree dns.quad9.net
block tree doh.ffmuc.net
block tree doh.mullvad.net
block tree dns.mullvad.net
block tree ada.openbld.net
block tree ric.openbld.net
block tree ordns.he.net
block tree doh-pure.onedns.net
block tree doh.onedns.net
block tree safe.dot.dns.yandex.net
block tree common.dot.dns.yandex.net
block tree family.dot.dns.yandex.net
block tree doh.applied-privacy.net
block tree zero.dns0.eu
block tree unfiltered.joindns4.eu
block tree child.joindns4.eu
block tree protective.joindns4.eu
block tree child-noads.joindns4.eu
block tree noads.joindns4.eu
block tree dns.twnic.tw
block tree odvr.nic.cz
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
