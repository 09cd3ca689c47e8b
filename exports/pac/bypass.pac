// Title: Encrypted DNS of others
// Description: Public services of DNS over HTTPS, TLS and QUIC, by which programs get answers past this resolver. Their addresses are on it for packet filters; do not load those where your own upstream is among them.
// License: MIT
// Expires: 1 day
// Last modified: 2026-11-23
// Version: 68ec4ee5c685
// Syntax: proxy auto-configuration
// Usage: the URL of the automatic proxy configuration in a browser or system
// Number of entries: 63
// Note: 94 rules have a pattern, a condition or an answer that this format cannot say
var exact = {}, below = {};
function put(name, scope, blocked) {
  if (scope & 1) exact[name] = blocked;
  if (scope & 2) below[name] = blocked;
}
function b(name, scope) { put(name, scope, true); }
function a(name, scope) { put(name, scope, false); }
b("canadianshield.cira.ca",3);
b("doh.sb",3);
b("dns.sb",3);
b("doh.pub",3);
b("dns.pub",3);
b("dot.pub",3);
b("dnsforge.de",3);
b("dns.google",3);
b("one.one.one.one",3);
b("router.comss.one",3);
b("dns.comss.one",3);
b("doh.cleanbrowsing.org",3);
b("adult-filter-dns.cleanbrowsing.org",3);
b("family-filter-dns.cleanbrowsing.org",3);
b("security-filter-dns.cleanbrowsing.org",3);
b("wikimedia-dns.org",3);
b("dns.switch.ch",3);
b("dns.digitale-gesellschaft.ch",3);
b("dns.bebasid.com",3);
b("antivirus.bebasid.com",3);
b("internetsehat.bebasid.com",3);
b("freedns.controld.com",3);
b("dns.adguard.com",3);
b("canary-bypass.example.com",1);
b("doh.dns.apple.com",3);
b("dns.cloudflare.com",3);
b("dns.dnswarden.com",3);
b("adguard-dns.com",3);
b("cloudflare-dns.com",3);
b("dns.alidns.com",3);
b("basic.rethinkdns.com",3);
b("dns.surfsharkdns.com",3);
b("doh.familyshield.opendns.com",3);
b("doh.opendns.com",3);
b("doh.sandbox.opendns.com",3);
b("dns.decloudus.com",3);
b("doh.360.cn",3);
b("dns.nextdns.io",3);
b("public.dns.iij.jp",3);
b("doh.libredns.gr",3);
b("dns10.quad9.net",3);
b("dns11.quad9.net",3);
b("dns.quad9.net",3);
b("doh.ffmuc.net",3);
b("doh.mullvad.net",3);
b("dns.mullvad.net",3);
b("ada.openbld.net",3);
b("ric.openbld.net",3);
b("ordns.he.net",3);
b("doh-pure.onedns.net",3);
b("doh.onedns.net",3);
b("safe.dot.dns.yandex.net",3);
b("common.dot.dns.yandex.net",3);
b("family.dot.dns.yandex.net",3);
b("doh.applied-privacy.net",3);
b("zero.dns0.eu",3);
b("unfiltered.joindns4.eu",3);
b("child.joindns4.eu",3);
b("protective.joindns4.eu",3);
b("child-noads.joindns4.eu",3);
b("noads.joindns4.eu",3);
b("dns.twnic.tw",3);
b("odvr.nic.cz",3);
function has(table, name) { return Object.prototype.hasOwnProperty.call(table, name); }
function blocked(host) {
  var name = host.toLowerCase().replace(/\.$/, "");
  if (has(exact, name)) return exact[name];
  for (var at = name.indexOf("."); at >= 0; at = name.indexOf(".")) {
    name = name.substring(at + 1);
    if (has(below, name)) return below[name];
  }
  return false;
}
function FindProxyForURL(url, host) { return blocked(host) ? "PROXY 127.0.0.1:9" : "DIRECT"; }
