// What the pages of the desk do in the browser, beyond htmx. Without it everything can still be read.
"use strict";
(() => {
  const all = (query, within) => Array.from((within || document).querySelectorAll(query));

  // Times in the zone of who looks; the title keeps UTC. One of today needs no date.
  const today = new Date().toDateString();
  const localise = (root) => {
    for (const time of all("time[datetime]", root)) {
      const at = new Date(time.dateTime);
      if (time.dataset.local || Number.isNaN(at.valueOf())) continue;
      time.dataset.local = "1";
      const clock = at.toLocaleTimeString([], { hour12: false });
      const day = `${at.getFullYear()}-${String(at.getMonth() + 1).padStart(2, "0")}-${String(at.getDate()).padStart(2, "0")}`;
      time.textContent = at.toDateString() === today ? clock : `${day} ${clock}`;
    }
  };

  // The navigation of a narrow window.
  const menu = document.querySelector(".menu");
  menu?.addEventListener("click", () => {
    const open = document.getElementById("nav").classList.toggle("open");
    menu.setAttribute("aria-expanded", String(open));
  });

  // What a request could not do is shown, and goes when it is clicked.
  const notice = (text, kind) => {
    const notices = document.getElementById("notices");
    if (!notices) return;
    const box = document.createElement("div");
    box.className = kind;
    box.setAttribute("role", kind === "fault" ? "alert" : "status");
    box.textContent = text;
    box.addEventListener("click", () => box.remove());
    notices.append(box);
    setTimeout(() => box.remove(), 12000);
  };
  // What has changed meanwhile is told in place of how far something has come, with what to do now.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail;
    if (xhr.status !== 409 || !xhr.responseText.includes('id="progress"')) return;
    event.detail.shouldSwap = true;
    event.detail.isError = false;
  });
  document.addEventListener("htmx:responseError", (event) => {
    const page = new DOMParser().parseFromString(event.detail.xhr.responseText, "text/html");
    const fault = page.querySelector(".fault");
    notice(fault ? fault.innerText.replace(/\s+/g, " ") : `The gateway answered ${event.detail.xhr.status}.`, "fault");
  });
  document.addEventListener("htmx:sendError", () => notice("The gateway does not answer.", "fault"));

  // What was left empty in a filter does not stand in the address.
  document.addEventListener("htmx:configRequest", (event) => {
    const { verb, parameters } = event.detail;
    if (verb === "get") for (const key of Object.keys(parameters)) if (parameters[key] === "") delete parameters[key];
  });

  // Keys: rows of the first table marked data-rows, places, help.
  const rows = () => all("table[data-rows] tbody tr").filter((row) => row.querySelector("a"));
  const move = (step) => {
    const list = rows();
    if (!list.length) return;
    const at = list.findIndex((row) => row.getAttribute("aria-selected") === "true");
    const next = list[Math.max(0, Math.min(list.length - 1, at + step))] || list[0];
    list.forEach((row) => row.removeAttribute("aria-selected"));
    next.setAttribute("aria-selected", "true");
    next.scrollIntoView({ block: "nearest" });
    next.querySelector("a").focus({ preventScroll: true });
  };
  const help = () => {
    let dialog = document.getElementById("keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      const title = document.createElement("h2");
      title.textContent = "Keys";
      const list = document.createElement("dl");
      list.className = "facts";
      const places = all("#nav a[data-key]").map((link) => [`g ${link.dataset.key}`, link.textContent.trim()]);
      for (const [key, what] of [["/", "search"], ["j k", "next and previous row"], ["Enter", "open it"], ["?", "this"], ...places]) {
        const [term, text] = [document.createElement("dt"), document.createElement("dd")];
        const shown = document.createElement("kbd");
        shown.textContent = key;
        term.append(shown);
        text.textContent = what;
        list.append(term, text);
      }
      const close = document.createElement("button");
      close.textContent = "Close";
      close.addEventListener("click", () => dialog.close());
      dialog.append(title, list, close);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select, [contenteditable]")) return;
    if (document.querySelector("dialog[open]")) return;
    if (Date.now() - going < 1500) {
      going = 0;
      const link = document.querySelector(`#nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const known = {
      j: () => move(1), k: () => move(-1), g: () => { going = Date.now(); }, "?": help,
      "/": () => document.querySelector("[data-search]")?.focus(),
    }[event.key];
    if (known) { event.preventDefault(); known(); }
  });

  localise(document);
  document.addEventListener("htmx:load", (event) => localise(event.detail.elt.parentNode || document));
})();
