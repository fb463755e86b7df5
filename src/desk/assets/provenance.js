// A message and its Bundle side by side: what belongs together lights up, by mouse, touch and key.
"use strict";
(() => {
  const start = (root) => {
    if (!root || root.dataset.linked) return;
    root.dataset.linked = "1";
    const told = root.querySelector(".inspector");
    const items = () => Array.from(root.querySelectorAll(".leaf, .value"));
    const partners = (item) => (item.dataset.to ?? item.dataset.from ?? "").split(" ").filter(Boolean)
      .map((id) => root.querySelector(`#${CSS.escape(id)}`)).filter(Boolean);
    let shown = null;
    let kept = false;

    const line = (name, text) => {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")];
      term.textContent = name;
      value.textContent = text;
      return [term, value];
    };
    const tell = (item, others) => {
      const list = document.createElement("dl");
      list.className = "facts";
      const add = (name, text) => { if (text) list.append(...line(name, text)); };
      const { path, name, word, why, rule, row } = item.dataset;
      add(item.matches(".leaf") ? "Field" : "Element", name ? `${path}  ${name}` : path);
      add(item.matches(".leaf") ? "Went" : "Came", item.matches(".leaf")
        ? (others.length ? `to ${others.map((other) => other.dataset.path).slice(0, 8).join(", ")}${others.length > 8 ? " …" : ""}` : word)
        : (others.length ? `from ${others.map((other) => other.dataset.path).join(", ")}` : "from the mapping itself"));
      add("Why", why);
      add("Rule", rule ?? others.map((other) => other.dataset.rule).find(Boolean));
      add("Table", row ?? others.map((other) => other.dataset.row).find(Boolean));
      told.replaceChildren(list);
    };
    const clear = () => root.querySelectorAll(".lit, .at").forEach((item) => item.classList.remove("lit", "at"));
    // Within its own pane alone: the page stays where it is.
    const bring = (item) => {
      const pane = item.closest(".pane");
      if (!pane) return;
      const [inner, outer] = [item.getBoundingClientRect(), pane.getBoundingClientRect()];
      if (inner.top < outer.top || inner.bottom > outer.bottom) pane.scrollTop += inner.top - outer.top - outer.height / 3;
    };
    const show = (item, far) => {
      if (item === shown) return;
      shown = item;
      clear();
      const others = partners(item);
      item.classList.add("at");
      others.forEach((other) => other.classList.add("lit"));
      if (far && others.length) bring(others[0]);
      tell(item, others);
    };

    const found = (event) => event.target.closest?.(".pane .leaf, .pane .value");
    root.addEventListener("mouseover", (event) => { const item = found(event); if (item && !kept) show(item, true); });
    // A click or a touch keeps it, so that the other side can be looked at.
    root.addEventListener("click", (event) => {
      const item = found(event);
      if (!item) return;
      kept = !(kept && item === shown);
      show(item, true);
      item.classList.add("at");
    });
    // The panes take the focus; arrows go from value to value.
    root.querySelectorAll(".pane").forEach((pane) => pane.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") { kept = false; shown = null; clear(); return; }
      if (!step) return;
      const own = items().filter((item) => pane.contains(item));
      if (!own.length) return;
      const at = own.indexOf(shown);
      const next = own[Math.max(0, Math.min(own.length - 1, at < 0 ? 0 : at + step))];
      event.preventDefault();
      kept = true;
      show(next, true);
      bring(next);
    }));
  };
  start(document.querySelector(".provenance"));
  document.addEventListener("htmx:load", () => start(document.querySelector(".provenance")));
})();
