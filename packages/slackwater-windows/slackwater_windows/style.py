"""How the tide table looks: one style sheet, light and dark, with nothing from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Final

CSS: Final = """
:root{color-scheme:light dark;--sea:#f4f8f9;--foam:#fff;--ink:#10242e;--soft:#4d6672;--line:#d7e2e6;
--grid:#e6eef0;--accent:#0b7285;--planned:#6aa5b8;--waiting:#d98a00;--running:#1a8f5c;--good:#7cba9b;
--bad:#c4412b;--gone:#a9b6bc;--deny:#8295a0;--shade:#eaf3f5;--used:#4d7f94;--promised:#e0a43a;
--free:#d5e7ea;--now:#d6336c}
@media (prefers-color-scheme:dark){:root{--sea:#0a151b;--foam:#101f27;--ink:#e4eef2;--soft:#93abb6;
--line:#213640;--grid:#1a2c35;--accent:#5cc8dc;--planned:#3f7c92;--waiting:#e5a53b;--running:#37b57e;
--good:#2f6b4f;--bad:#ee7a63;--gone:#50636d;--deny:#6b818d;--shade:#142832;--used:#4f8ba3;
--promised:#d29a34;--free:#1d3742;--now:#ff6b9d}}
*{box-sizing:border-box}
html{background:var(--sea);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Liberation Sans",sans-serif}
body{margin:0 auto;max-width:1240px;padding:24px 24px 48px;overflow-wrap:anywhere}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:6px}
.skip{position:absolute;left:-999px;top:8px;background:var(--foam);padding:8px 14px;border-radius:8px}
.skip:focus{left:16px;z-index:9}
header{display:flex;flex-wrap:wrap;gap:12px 24px;align-items:center;margin-bottom:20px}
header svg{flex:none}
h1{font-size:24px;line-height:1.1;margin:0;letter-spacing:-.02em}
h1 span{font-weight:400;color:var(--soft)}
.asof{margin:2px 0 0;color:var(--soft);font-size:13px}
form{margin-left:auto;display:flex;flex-wrap:wrap;gap:8px;align-items:center;font-size:14px}
input,button{font:inherit;color:inherit;background:var(--foam);border:1px solid var(--line);
border-radius:9px;padding:6px 12px}
input{width:190px}
button{cursor:pointer}
button:hover{border-color:var(--accent)}
.zones{display:flex;gap:10px;color:var(--soft);font-size:13px;white-space:nowrap}
h2{font-size:12px;letter-spacing:.08em;text-transform:uppercase;color:var(--soft);margin:28px 0 10px}
.card,details,.table{background:var(--foam);border:1px solid var(--line);border-radius:14px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px}
.tile{padding:14px 18px}
.tile b{display:block;font-size:27px;line-height:1.15;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
.pools{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(290px,100%),1fr));gap:12px}
.pool{padding:16px 18px 0;overflow:hidden;display:flex;flex-direction:column}
.pool h3{margin:0;font-size:15px}
.pool p{margin:2px 0 10px;color:var(--soft);font-size:13px}
.pool .big{color:var(--ink);font-size:20px;margin:0;letter-spacing:-.01em}
.pool svg{display:block;width:100%}
.pool .tide{margin:8px -18px 0;width:calc(100% + 36px);height:56px;margin-top:auto}
.warn{color:var(--bad)}
.now{list-style:none;margin:0;padding:0}
.now li{display:grid;grid-template-columns:108px minmax(0,1fr) auto;gap:4px 16px;padding:11px 18px;
border-top:1px solid var(--grid);align-items:baseline}
.now li:first-child{border-top:0}
.now small,.dag{color:var(--soft)}
.now small{max-width:340px}
.state{display:inline-flex;gap:7px;align-items:center;font-weight:600;font-size:13px;white-space:nowrap}
.state i{width:9px;height:9px;border-radius:50%;background:var(--gone);flex:none}
.state.w i{background:var(--waiting)}.state.r i{background:var(--running)}
.state.s i{background:var(--good)}.state.f i{background:var(--bad)}.state.p i{background:var(--planned)}
.days,summary{display:grid;grid-template-columns:minmax(190px,300px) minmax(0,1fr);gap:16px;
align-items:center}
.days{padding:4px 17px 4px 13px;color:var(--soft);font-size:12px;position:sticky;top:0;z-index:1;
background:var(--sea)}
.days>span{padding-left:22px}
.days svg{width:100%;height:20px;overflow:visible}
.days text{fill:var(--soft);font-size:12px}
.days .today{fill:var(--ink);font-weight:700}
details{margin-top:-1px;border-radius:0}
.rows details:first-of-type{border-radius:14px 14px 0 0;margin-top:0}
.rows details:last-of-type{border-radius:0 0 14px 14px}
.rows details:only-of-type{border-radius:14px}
summary{padding:9px 16px 9px 12px;cursor:pointer;list-style:none;border-radius:inherit}
summary::-webkit-details-marker{display:none}
summary:hover{background:var(--shade)}
.who{min-width:0;padding-left:22px;position:relative}
.who::before{content:"";position:absolute;left:4px;top:8px;border:5px solid transparent;
border-left-color:var(--soft)}
details[open] .who::before{transform:rotate(90deg);left:2px;top:10px}
.who b{font-weight:600}
.who small{display:block;color:var(--soft);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.strip{width:100%;height:34px;display:block}
.bg{fill:var(--shade)}.day{stroke:var(--line)}.nowline{stroke:var(--now)}
.hidden{position:absolute}
rect.p{fill:var(--planned)}rect.w{fill:var(--waiting)}rect.r{fill:var(--running)}
rect.s{fill:var(--good)}rect.f{fill:var(--bad)}rect.g{fill:var(--gone)}
rect.plan{fill:var(--ink)}
rect.cut{fill:url(#cut);stroke:var(--deny);stroke-width:.6}
#cut path{stroke:var(--deny)}
.used{fill:var(--used)}.promised{fill:var(--promised)}.free{fill:var(--free)}
.area{fill:var(--accent);opacity:.2}.crest{fill:none;stroke:var(--accent);stroke-width:1.5}
.body{padding:4px 18px 18px 34px;min-width:0}
.body p{margin:4px 0 12px;max-width:80ch}
.facts{display:flex;flex-wrap:wrap;gap:4px 26px;margin:0 0 12px;font-size:13px}
.facts dt{color:var(--soft);display:inline}.facts dd{display:inline;margin:0 0 0 6px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13px;overflow-wrap:break-word}
th{text-align:left;font-weight:600;color:var(--soft);padding:6px 14px 6px 0;white-space:nowrap}
td{border-top:1px solid var(--grid);padding:6px 14px 6px 0;vertical-align:top;
font-variant-numeric:tabular-nums}
.when{white-space:nowrap}
td code{font-size:12px;display:inline-block;min-width:220px;overflow-wrap:anywhere}
.cuts{min-width:200px}
.table{padding:8px 18px}
.legend{display:flex;flex-wrap:wrap;gap:6px 18px;color:var(--soft);font-size:12px;margin:12px 2px 0}
.legend span{display:inline-flex;gap:6px;align-items:center}
.empty{padding:26px 18px;color:var(--soft);text-align:center}
footer{margin-top:34px;color:var(--soft);font-size:13px;display:flex;flex-wrap:wrap;gap:6px 20px}
@media (max-width:720px){body{padding:16px}.who,.days>*,summary>*{min-width:0}
.days,summary{grid-template-columns:minmax(0,1fr);gap:6px}.days>span:first-child,.date{display:none}
.now li{grid-template-columns:minmax(0,1fr)}form{margin-left:0;width:100%}.zones{width:100%}
input{flex:1;min-width:0}.tile{padding:12px 14px}.tile b{font-size:22px}.body{padding-left:18px}
h1{overflow-wrap:normal}}
@media (forced-colors:active){.state i{forced-color-adjust:none}}
@media print{form,.skip{display:none}}
"""

_HASH: Final = b64encode(sha256(CSS.encode()).digest()).decode()


def headers(*, framed: bool) -> dict[str, str]:
    """The HTTP headers that the page goes with: nothing runs in it and nothing is loaded.

    Args:
        framed: whether a page of the same server may show it in a frame, as Airflow does.
    """
    ancestors = "'self'" if framed else "'none'"
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; form-action 'self'; "
            f"base-uri 'none'; frame-ancestors {ancestors}"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
