"""What is wrong with how a page looks: wider than its window, cut, or hard to use for some."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe

GRAVE = ("serious", "critical")

# texts of which a part is seen and a part lies where nobody can scroll to it
CUT = """() => {
  const hidden = e => { for (let o = e; o; o = o.parentElement) {
    const s = getComputedStyle(o);
    if (s.clipPath !== 'none' || s.visibility === 'hidden' || s.display === 'none') return true;
    if (s.overflowX === 'auto' || s.overflowX === 'scroll') return false; } return false; };
  const reach = e => { for (let o = e.parentElement; o; o = o.parentElement) {
    const s = getComputedStyle(o).overflowX;
    if (s === 'auto' || s === 'scroll') return o.scrollWidth > o.clientWidth ? Infinity :
      o.getBoundingClientRect().right;
    if (s === 'hidden' || s === 'clip') return o.getBoundingClientRect().right; }
    return innerWidth; };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let t = walk.nextNode(); t; t = walk.nextNode()) {
    const e = t.parentElement, range = document.createRange();
    if (!t.data.trim() || /^(SCRIPT|STYLE|OPTION|TITLE)$/i.test(e.tagName) || hidden(e)) continue;
    range.selectNodeContents(t);
    const r = range.getBoundingClientRect();
    if (r.width && (r.left < -1 && r.right > 1 || r.right > reach(e) + 1))
      found.push(t.data.trim().slice(0, 80));
  }
  return found;
}"""


def faults_of(page: Any, name: str) -> list[str]:
    """A line for each fault of the page that is open; axe-core's grave findings among them."""
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    found = [f"{name}: {wide} px wider than the window"] if wide > 0 else []
    found += [f"{name}: cut: {text}" for text in page.evaluate(CUT)]
    return found + [
        f"{name}: {one['id']}: {one['help']}: {one['nodes'][0]['html'][:150]}"
        for one in Axe().run(page).response["violations"]
        if one["impact"] in GRAVE
    ]
