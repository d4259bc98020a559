// Pages that follow: the stream says that something changed, htmx loads the live part again.
"use strict";
(() => {
  const live = () => document.querySelectorAll("[data-live]");
  if (!live().length) return;
  const away = document.getElementById("away");
  const since = document.getElementById("since");
  const stream = new EventSource("/live");
  const refresh = () => live().forEach((one) => htmx.trigger(one, "changed"));
  let last = null;
  stream.addEventListener("hello", (event) => {
    if (last !== null && last !== event.data) refresh();
    last = event.data;
    away.hidden = true;
  });
  stream.addEventListener("changed", (event) => {
    last = event.data;
    refresh();
  });
  stream.onerror = () => {
    if (away.hidden) since.textContent = new Date().toISOString().slice(11, 16) + " UTC";
    away.hidden = false;
  };
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) window.location.reload();
  });
})();
