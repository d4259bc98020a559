"""The report's style sheet: light, dark and paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --back: #f4f6f8; --ink: #1c2430; --faint: #5f6b7a; --line: #e1e6ec;
  --grid: #e3e8ee; --accent: #1f6feb; --soft: #eaf2fe;
  --local: #7b8794; --federated: #1f6feb; --hybrid: #8e4ec6; --pooled: #b7791f;
  --good: #2f7fb8; --defect: #d9622b; --fine: #1a7f4b; --alarm: #b42318;
  --warn-back: #fff6e5; --warn-line: #e9b949; --alarm-back: #fdecea; --alarm-line: #d9534a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #171c23; --back: #0f1317; --ink: #e6eaf0; --faint: #98a4b3; --line: #2a323c;
    --grid: #2a323c; --accent: #6ea8fe; --soft: #1a2a42;
    --local: #8d99a8; --federated: #5b9bff; --hybrid: #b98be0; --pooled: #dfab53;
    --good: #58a6d9; --defect: #f08a54; --fine: #43b581; --alarm: #f2695c;
    --series-0: #5b9bff; --series-1: #f08a54; --series-2: #3fb58f; --series-3: #b98be0;
    --series-4: #dfab53; --series-5: #f0709a; --series-6: #4db6cf; --series-7: #9aa8b8;
    --warn-back: #2c2413; --warn-line: #8a6d22; --alarm-back: #331917; --alarm-line: #8f3a33;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 56px; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 8px 24px 64px; }
header { max-width: 1180px; margin: 0 auto; padding: 36px 24px 8px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 0 0 4px; overflow-wrap: anywhere; }
h3 { font-size: 15px; margin: 26px 0 8px; }
p { margin: 6px 0; max-width: 85ch; }
a { color: var(--accent); text-decoration: none; }
code { font: .92em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.kicker { color: var(--faint); font-size: 13px; }
.lead { font-size: 17px; }
.note { color: var(--faint); font-size: 13.5px; max-width: 110ch; }
nav { position: sticky; top: 0; z-index: 2; background: var(--back);
  border-bottom: 1px solid var(--line); }
nav div { max-width: 1180px; margin: 0 auto; padding: 10px 24px; display: flex; gap: 6px 18px;
  overflow-x: auto; white-space: nowrap; font-size: 14px; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 22px 24px; margin: 20px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px;
  margin: 18px 0 6px; }
.tile { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px 16px; }
.tile b { display: block; font-size: 23px; line-height: 1.3; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: 13px; display: block; }
.tile.main { background: var(--soft); border-color: var(--accent); }
.alert { border: 1px solid var(--warn-line); background: var(--warn-back); border-radius: 10px;
  padding: 12px 18px; margin: 16px 0; }
.alert.bad { border-color: var(--alarm-line); background: var(--alarm-back); }
.alert ul { margin: 4px 0; padding-left: 20px; }
.alert li { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: middle; }
th { color: var(--faint); font-weight: 600; font-size: 12.5px; vertical-align: bottom; }
th.n, td.n { text-align: right; padding: 5px 0 5px 18px; white-space: nowrap; }
td:first-child { min-width: 96px; max-width: 260px; overflow-wrap: break-word; }
tr.sum td { background: var(--back); font-weight: 600; }
tr.group td { border-bottom: 0; padding-top: 12px; }
.top { color: var(--accent); font-weight: 700; }
.top::after { content: " \\2022"; }
td.n:not(:has(.top)) { padding-right: .62em; }
.up { color: var(--fine); } .down { color: var(--alarm); }
.key::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%;
  margin-right: 5px; background: var(--federated); }
.key.local::before { background: none; border: 2px solid var(--local); }
.key.hybrid::before { background: var(--hybrid); border-radius: 0;
  clip-path: polygon(50% 0, 100% 100%, 0 100%); }
.key.pooled::before { background: var(--pooled); border-radius: 1px; transform: rotate(45deg)
  scale(.85); }
.key.good::before { background: var(--good); border-radius: 2px; }
.key.defect::before { background: var(--defect); border-radius: 2px; }
.bars { white-space: nowrap; }
.bar { display: inline-flex; width: 104px; height: 10px; border-radius: 3px; overflow: hidden;
  background: var(--grid); vertical-align: middle; margin-right: 8px; }
.bar i { display: block; height: 100%; background: var(--fine); }
.bar i + i { background: var(--alarm); }
.side { display: flex; flex-wrap: wrap; gap: 16px 44px; align-items: flex-start; }
.side > .charts { flex: 1 1 640px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(316px, 1fr)); gap: 14px; }
figure { margin: 0; }
figure svg { display: block; max-width: 100%; height: auto; }
figcaption { font-size: 13px; color: var(--faint); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; }
.cases { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 14px; margin: 8px 0 20px; }
.cases figure { border: 1px solid var(--line); border-radius: 8px; overflow: hidden;
  background: #fff; max-width: 100%; }
.cases figure:not(.wide) { max-width: calc(50% - 7px); }
.cases img { display: block; max-height: 250px; width: auto; max-width: 100%; }
.cases .wide { width: 100%; }
.cases .wide img { max-height: none; width: 100%; }
.cases figcaption { background: var(--paper); padding: 5px 12px; border-top: 1px solid var(--line);
  width: 0; min-width: 100%; }
details { margin: 10px 0; }
summary { cursor: pointer; color: var(--accent); font-size: 14px; padding: 3px 0; }
.columns { columns: 3 300px; column-gap: 32px; }
.columns div { display: flex; justify-content: space-between; gap: 12px; break-inside: avoid;
  border-bottom: 1px solid var(--line); padding: 3px 0; font-size: 13.5px; }
.columns code { overflow-wrap: anywhere; text-align: right; }
.columns .changed code { font-weight: 700; color: var(--accent); }
footer { max-width: 1180px; margin: 0 auto; padding: 0 24px 40px; color: var(--faint);
  font-size: 13px; }
@media (max-width: 800px) {
  .cases figure:not(.wide) { max-width: 100%; }
  section { padding: 16px; }
}
@media print {
  @page { margin: 12mm; }
  body { background: #fff; font-size: 11px; }
  p, .lead, .note { font-size: 11px; max-width: none; }
  .scroll { overflow: visible; }
  table { font-size: 9.5px; }
  th { font-size: 9px; }
  td.n, th.n { padding: 3px 0 3px 9px; }
  .bar { width: 56px; height: 7px; margin-right: 5px; }
  .tiles { grid-template-columns: repeat(6, 1fr); }
  .tile { padding: 8px 10px; }
  .tile b { font-size: 16px; }
  .tile span, figcaption { font-size: 9.5px; }
  nav { display: none; }
  main, header { max-width: none; padding: 0; }
  section { border: 0; padding: 6px 0; break-inside: auto; }
  h2, h3, p:has(+ .cases) { break-after: avoid; }
  figure, tr, .tile, .alert { break-inside: avoid; }
  .cases img { max-height: 150px; }
  details::details-content { content-visibility: visible; height: auto; display: block; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
