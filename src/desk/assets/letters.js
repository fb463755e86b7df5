// Letters that press a button: of the row that is chosen, else of the page.
"use strict";
(() => {
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select, [contenteditable]")) return;
    if (document.querySelector("dialog[open]")) return;
    // `g` and a letter leads to a page.
    if (event.key === "g") { going = Date.now(); return; }
    if (Date.now() - going < 1500) { going = 0; return; }
    const query = `[data-press="${CSS.escape(event.key)}"]`;
    const chosen = document.querySelector('tr[aria-selected="true"]');
    const pressed = chosen ? chosen.querySelector(query) : document.querySelector(`:not(td) > form > ${query}, a${query}`);
    if (pressed) { event.preventDefault(); pressed.click(); }
  });
})();
