"""Colours and the style sheet: one palette, light and dark, safe for the colour-blind."""

from __future__ import annotations

import re

from pluralign.evaluate.report.model import Kind

# Drawn with these stand-ins and turned into the style sheet's colours afterwards, so that figures
# follow the reader's light or dark scheme.
STAND_INS = {
    "ink": "#010203",
    "muted": "#010204",
    "rule": "#010205",
    "paper": "#010206",
    "first": "#010207",
    "second": "#010208",
    "learned": "#010209",
    "language": "#01020a",
    "cloned": "#01020b",
    "shade": "#01020c",
}
KIND_COLOURS: dict[Kind, str] = {
    "random": "muted",
    "online": "ink",
    "language_model": "language",
    "cloned": "cloned",
    "learned": "learned",
}
KIND_MARKERS: dict[Kind, str] = {
    "random": "X",
    "online": "s",
    "language_model": "D",
    "cloned": "^",
    "learned": "o",
}
_BLEND = re.compile(r"#0103([0-9a-f]{2})\b")


def stand_in(name: str) -> str:
    """The stand-in of a named colour."""
    return STAND_INS[name]


def blend_stand_in(weight: float) -> str:
    """The stand-in of the colour of a weight from 0 (second objective) to 1 (first)."""
    return f"#0103{round(100 * weight):02x}"


def with_scheme_colours(svg: str) -> str:
    """Replace the stand-ins in a drawing by the style sheet's colours."""
    for name, colour in STAND_INS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return _BLEND.sub(lambda m: blend_css(int(m[1], 16) / 100), svg)


def blend_css(weight: float) -> str:
    """The colour of a weight, in CSS."""
    return f"color-mix(in oklch, var(--first) {round(100 * weight)}%, var(--second))"


COLOURS = """
:root{color-scheme:light dark;--ink:#1d1c1a;--muted:#66635d;--rule:#d9d5cb;--paper:#fcfbf8;--card:#fff;
--first:#c05a00;--second:#1d66a8;--learned:#87408f;--language:#00745a;--cloned:#7d6608;--shade:#eeebe3}
@media(prefers-color-scheme:dark){:root{--ink:#eceae5;--muted:#a5a29b;--rule:#3a3b3e;--paper:#151618;
--card:#1b1c1f;--first:#f2a14e;--second:#6db4ee;--learned:#d49add;--language:#55c8a2;--cloned:#d9c355;
--shade:#25262a}}
"""
STYLE = (
    f"{COLOURS}"
    """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:1.0625rem/1.6 Charter,"Bitstream Charter","Iowan Old Style",Palatino,Georgia,serif}
main,header,footer{max-width:46rem;margin:0 auto;padding:0 1.1rem}
header{padding-top:clamp(2rem,7vw,4.5rem)}
footer{padding-bottom:4rem}
h1,h2,h3,table,figcaption,.eyebrow,.facts,.legend,summary,dl,svg{
font-family:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.eyebrow{margin:0 0 .6rem;font-size:.8rem;letter-spacing:.06em;color:var(--muted)}
h1{margin:0 0 1.2rem;font-size:clamp(1.65rem,5vw,2.2rem);line-height:1.15;letter-spacing:-.02em;
font-weight:680;text-wrap:balance}
h2{margin:3.2rem 0 .7rem;font-size:1.3rem;line-height:1.25;letter-spacing:-.01em;font-weight:650;
text-wrap:balance}
p{margin:0 0 1rem;text-wrap:pretty}
.lead{font-size:1.16rem;line-height:1.55}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:1px;margin:1.8rem 0 0;
padding:0;background:var(--rule);border:1px solid var(--rule);border-radius:.5rem;overflow:hidden}
.facts div{background:var(--card);padding:.8rem .95rem}
.facts dt{font-size:.8rem;line-height:1.3;color:var(--muted)}
.facts dd{margin:.15rem 0 0;font-size:1.4rem;line-height:1.25;font-weight:640;letter-spacing:-.01em;
font-variant-numeric:tabular-nums}
.facts small{display:block;font-size:.78rem;font-weight:400;letter-spacing:0;color:var(--muted)}
figure{margin:1.8rem 0 2rem}
@media(min-width:56rem){figure.wide{margin-inline:-4rem}}
figure svg{display:block;width:100%;height:auto;overflow:visible}
figure svg *{stroke-linejoin:round;stroke-linecap:butt}
figure .narrow{display:none}
@media(max-width:36rem){figure .broad{display:none}figure .narrow{display:block}}
figcaption{margin-top:.7rem;font-size:.875rem;line-height:1.5;color:var(--muted);max-width:46rem}
.legend{display:flex;flex-wrap:wrap;gap:.35rem 1.3rem;margin:0 0 .6rem;padding:0;list-style:none;
font-size:.83rem;color:var(--muted);max-width:46rem}
figure.wide figcaption,figure.wide .legend{margin-inline:auto;max-width:43.8rem}
.legend li{display:flex;align-items:center;gap:.45rem}
.legend i{display:inline-block;flex:none;width:.8rem;height:.8rem;border-radius:50%}
.legend .scale{width:4.5rem;height:.55rem;border-radius:.3rem;
background:linear-gradient(in oklch to right,var(--second),var(--first))}
.legend .ring{border:2px solid var(--muted)}
.legend .line{width:1.4rem;height:0;border-top:2px dotted var(--muted);border-radius:0}
.legend .step{width:1.4rem;height:0;border-top:2px solid var(--ink);border-radius:0}
.scroll{overflow-x:auto;margin:1.2rem 0 1.6rem}
.scroll:focus-visible{outline:2px solid var(--second);outline-offset:3px}
table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.35;
font-variant-numeric:tabular-nums}
caption{text-align:left;padding-bottom:.5rem;color:var(--muted);font-size:.875rem}
caption span{display:block;position:sticky;left:0;max-width:calc(100vw - 2.2rem)}
th,td{padding:.42rem .7rem .42rem 0;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
th:last-child,td:last-child{padding-right:0}
th:first-child,td:first-child{text-align:left}
thead th{font-weight:560;color:var(--muted);vertical-align:bottom;border-bottom-color:var(--muted)}
tbody th{font-weight:560}
td small{color:var(--muted);font-size:.78em}
details{margin-top:3rem;border-top:1px solid var(--rule);padding-top:1rem}
summary{cursor:pointer;font-weight:600;font-size:.95rem}
details dl{display:grid;grid-template-columns:minmax(7rem,auto) 1fr;gap:.2rem 1.2rem;font-size:.85rem}
details dt{color:var(--muted)}
details dd{margin:0;overflow-wrap:anywhere}
details h3{margin:1.4rem 0 .3rem;font-size:.9rem}
@media print{details{display:block}body{background:#fff}}
"""
)
