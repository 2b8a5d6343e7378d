"""The style sheet of the report: light and dark, wide and narrow, without a single request."""

from __future__ import annotations

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--box:#f6f7f9;--ink:#1b1f24;--soft:#5b6570;--edge:#d9dee4;
--m0:#6b7280;--m1:#c0392b;--m2:#2563a8;--m3:#12805c;--m4:#8e44ad;--m5:#b86e00;--m6:#0e8a99;--m7:#a83268;--m8:#5c6b1e;
--m9:#7a4a2b;--e0:#8a94a0;--e1:#c0392b;--e2:#d98a12;--e3:#2563a8;--hot:217,72,15;--bad:#b42318}
@media (prefers-color-scheme:dark){:root{--bg:#14171b;--box:#1d2126;--ink:#e6e9ed;--soft:#a3acb7;--edge:#343b44;
--m0:#a3acb7;--m1:#f0766a;--m2:#6ea8ee;--m3:#4fc79b;--m4:#c58ae0;--m5:#e5a33f;--m6:#4cc3d0;--m7:#ec86b4;--m8:#b5c661;
--m9:#cf9a75;--e0:#8a94a0;--e1:#e5675a;--e2:#e5a33f;--e3:#6ea8ee;--hot:235,94,30;--bad:#ff8a7a}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
-webkit-text-size-adjust:100%;overflow-wrap:break-word}
main{max-width:68rem;margin:0 auto;padding:1rem 1rem 4rem}
h1{font-size:1.55rem;line-height:1.25;margin:.6rem 0 .3rem}h2{font-size:1.25rem;margin:2.4rem 0 .4rem;line-height:1.3}
h3{font-size:1.05rem;margin:1.6rem 0 .4rem}p{margin:.5rem 0;max-width:46rem}.soft{color:var(--soft);font-size:.9rem}
nav{margin:.8rem 0;font-size:.9rem;display:flex;flex-wrap:wrap;gap:.2rem 1rem}
a{color:var(--m2)}code{font-size:.9em}
.scroll{overflow-x:auto;border:1px solid var(--edge);border-radius:8px;margin:.7rem 0;max-width:100%;width:fit-content}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--edge)}
tr:last-child td{border-bottom:0}thead th{background:var(--box);font-weight:600;vertical-align:bottom}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--bg)}
thead th:first-child{background:var(--box)}td.text,th.text{text-align:left}
td.wrap{white-space:normal;min-width:14rem;text-align:left}tr.sum td{font-weight:600;background:var(--box)}
.out{color:var(--bad);font-weight:600}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:1rem;align-items:start}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,25rem),1fr));gap:0 1rem;align-items:start}
.pair>div{min-width:0}
figure{margin:0;padding:.8rem;border:1px solid var(--edge);border-radius:8px;background:var(--bg);min-width:0}
figcaption{font-size:.9rem;margin-bottom:.5rem;color:var(--soft)}figcaption b{color:var(--ink)}
svg{display:block;width:100%;height:auto}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg text.label{fill:var(--ink);paint-order:stroke;
stroke:var(--bg);stroke-width:3px}svg .axis{fill:var(--ink)}
.grid{stroke:var(--edge);stroke-width:1;fill:none}.line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round}
.faint{stroke-width:1.2;opacity:.5}.bar{stroke-width:1.5}
.front{stroke:var(--soft);stroke-width:1.2;stroke-dasharray:4 4}
.rule{fill:none;stroke:var(--c,var(--soft));stroke-width:1.2;stroke-dasharray:5 4}
.dot{fill:var(--c);stroke:var(--bg);stroke-width:1.2}
.m0{--c:var(--m0)}.m1{--c:var(--m1)}.m2{--c:var(--m2)}.m3{--c:var(--m3)}.m4{--c:var(--m4)}.m5{--c:var(--m5)}
.m6{--c:var(--m6)}.m7{--c:var(--m7)}.m8{--c:var(--m8)}.m9{--c:var(--m9)}
.e0{--c:var(--e0)}.e1{--c:var(--e1)}.e2{--c:var(--e2)}.e3{--c:var(--e3)}rect.e0,rect.e1,rect.e2,rect.e3{fill:var(--c)}
.legend{list-style:none;margin:.5rem 0 0;padding:0;display:flex;flex-wrap:wrap;gap:.15rem 1rem;font-size:.85rem}
.legend li{display:flex;align-items:center;gap:.35rem}.legend svg{width:14px;height:14px;flex:none}
.tokens{margin:.9rem 0;padding:.7rem .8rem;border:1px solid var(--edge);border-radius:8px}
.tokens p{margin:0 0 .35rem}.tokens div{display:grid;grid-template-columns:6.5rem 1fr;gap:.3rem .7rem;padding:.2rem 0}
.tokens div>span{color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
.t{margin:0;font:.95rem/1.75 ui-monospace,"SF Mono",Menlo,Consolas,monospace;white-space:pre-wrap;
overflow-wrap:anywhere;min-width:0}
.t i{font-style:normal;border-radius:3px;padding:.1em 0}.t u{text-decoration-thickness:2px;text-underline-offset:4px}
.scale{display:flex;flex-wrap:wrap;gap:.3rem;font-size:.85rem;align-items:center}.scale i{font-style:normal;
padding:.05rem .45rem;border-radius:3px}
.h1{background:rgba(var(--hot),.1)}.h2{background:rgba(var(--hot),.17)}.h3{background:rgba(var(--hot),.24)}
.h4{background:rgba(var(--hot),.31)}.h5{background:rgba(var(--hot),.38)}.h6{background:rgba(var(--hot),.45)}
.h7{background:rgba(var(--hot),.53)}.h8{background:rgba(var(--hot),.75)}
details{margin:.7rem 0}summary{cursor:pointer}pre{overflow-x:auto;background:var(--box);padding:.7rem;border-radius:8px;
font-size:.8rem;line-height:1.45}
.notice{border-left:3px solid var(--m5);padding:.1rem .8rem;margin:.7rem 0}
@media (max-width:34rem){main{padding:.6rem .7rem 3rem}h1{font-size:1.3rem}.tokens div{grid-template-columns:1fr;gap:0}
th,td{padding:.34rem .5rem}figure{padding:.6rem .4rem}td.wrap{min-width:11rem}}
@media print{.figures{display:block}figure,.tokens{break-inside:avoid;margin-bottom:1rem}}
"""
