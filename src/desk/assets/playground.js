// The playground: numbers of lines, the place of the caret, ways from a mistake to its line and from a rule into the overlay.
"use strict";
(() => {
  // Where the caret is, and as many numbers as there are lines.
  const show = (area) => {
    const numbers = area.closest("[data-lines]")?.querySelector(".numbers");
    const caret = document.getElementById(area.getAttribute("aria-describedby"));
    if (!numbers || !caret) return;
    const count = area.value.split("\n").length;
    if (Number(numbers.dataset.count) !== count) {
      numbers.dataset.count = String(count);
      numbers.textContent = Array.from({ length: count }, (_, line) => line + 1).join("\n");
    }
    numbers.scrollTop = area.scrollTop;
    const before = area.value.slice(0, area.selectionStart).split("\n");
    caret.textContent = `Line ${before.length}, column ${before[before.length - 1].length + 1}`;
  };
  const areas = () => document.querySelectorAll("[data-lines] textarea");
  const listen = (area) => {
    if (area.dataset.heard) return;
    area.dataset.heard = "1";
    for (const kind of ["input", "keyup", "click", "focus", "scroll"]) area.addEventListener(kind, () => show(area));
    show(area);
  };
  areas().forEach(listen);

  // What was written anew is tried as if it had been typed.
  const typed = (area) => area.dispatchEvent(new Event("input", { bubbles: true }));
  document.addEventListener("htmx:afterSettle", (event) => {
    areas().forEach(listen);
    if (/^(message|overlay)-box$/.test(event.detail.elt?.id || "")) {
      const area = event.detail.elt.querySelector("textarea");
      if (area) typed(area);
    }
  });

  const select = (area, from, to) => {
    area.focus();
    area.setSelectionRange(from, to);
    const height = parseFloat(getComputedStyle(area).lineHeight) || 18;
    area.scrollTop = Math.max(0, (area.value.slice(0, from).split("\n").length - 4) * height);
    area.scrollIntoView({ block: "nearest" });
    show(area);
  };

  // From a mistake to its place.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-line]");
    const area = document.getElementById("overlay");
    if (!link || !area) return;
    event.preventDefault();
    const lines = area.value.split("\n");
    const line = Math.min(Number(link.dataset.line), lines.length) - 1;
    const start = lines.slice(0, line).reduce((sum, text) => sum + text.length + 1, 0);
    const from = start + Math.min(Number(link.dataset.column), lines[line].length);
    select(area, from, start + lines[line].length);
  });

  // A rule into its section of the overlay.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.take");
    const area = document.getElementById("overlay");
    if (!button || !area) return;
    const { section, rule } = button.dataset;
    const lines = area.value.replace(/\s+$/, "").split("\n").filter((line, at, all) => all.length > 1 || line);
    let at = lines.findIndex((line) => line.trim() === section || line.trim().startsWith(`${section} `));
    if (at < 0) {
      if (lines.length) lines.push("");
      lines.push(section);
      at = lines.length - 1;
    }
    let end = at + 1;
    while (end < lines.length && !lines[end].startsWith("[")) end += 1;
    while (end > at + 1 && !lines[end - 1].trim()) end -= 1;
    lines.splice(end, 0, rule);
    area.value = `${lines.join("\n")}\n`;
    const from = lines.slice(0, end).reduce((sum, text) => sum + text.length + 1, 0);
    select(area, from, from + rule.length);
    typed(area);
  });
})();
