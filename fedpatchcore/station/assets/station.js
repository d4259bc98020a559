// One key each: what carries data-key is pressed by it, unless somebody is typing.
"use strict";
(() => {
  const stage = () => document.getElementById("stage");
  const whole = () => { const s = stage(); if (s) { s.style.transform = ""; s.style.removeProperty("--by"); } };
  const zoom = (box) => {
    const s = stage(), frame = document.getElementById("frame");
    if (!s) return;
    const shown = s.querySelector("img"), across = Number(frame.dataset.width), down = Number(frame.dataset.height);
    const scale = Math.min(shown.clientWidth / across, shown.clientHeight / down);
    const margin = [(shown.clientWidth - scale * across) / 2, (shown.clientHeight - scale * down) / 2];
    const [left, top, right, bottom] = box.map((one, at) => margin[at % 2] + one * scale);
    const wide = frame.clientWidth, tall = frame.clientHeight;
    const fits = Math.min(0.6 * wide / Math.max(right - left, 8), 0.6 * tall / Math.max(bottom - top, 8));
    const by = Math.max(1, Math.min(12, fits));  // a region as large as the frame is moved, not made smaller
    const beside = s.offsetLeft - frame.offsetLeft;
    const x = wide / 2 - by * (left + right) / 2 - beside, y = tall / 2 - by * (top + bottom) / 2;
    s.style.setProperty("--by", by);
    s.style.transform = `translate(${x}px, ${y}px) scale(${by})`;
  };
  const does = {
    heat: () => { const one = document.getElementById("heat"); if (one) one.hidden = !one.hidden; },
    zoom: (one) => zoom(one.dataset.box.split(",").map(Number)),
    whole,
  };
  document.addEventListener("click", (event) => {
    const one = event.target.closest("[data-does]");
    if (one) does[one.dataset.does](one);
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "Escape") { if (typing) typing.blur(); else whole(); return; }
    if (event.key === "Enter" && event.target.matches("input[data-key]")) {
      event.preventDefault();  // the end of a note says nothing of the part
      event.target.blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const one = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
    if (!one) return;
    event.preventDefault();
    if (one.matches("input")) one.focus(); else one.click();
  });
})();
