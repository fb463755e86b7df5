// The stream that keeps a page up to date. It is closed while nobody looks at the page, for a browser has few connections to one server; and the page says when it is not live.
"use strict";
(() => {
  const shown = document.getElementById("pulse");
  const say = (tone, text, title) => {
    if (!shown || shown.textContent === text) return;
    shown.className = tone;
    shown.textContent = text;
    shown.title = title;
  };

  // What htmx takes for an EventSource.
  class Pulse extends EventTarget {
    constructor(url) {
      super();
      this.url = url;
      this.readyState = 0;
      this.names = new Set();
      this.forward = (event) => this.dispatchEvent(new MessageEvent(event.type, { data: event.data }));
      this.look = () => (document.hidden ? this.shut() : this.open());
      document.addEventListener("visibilitychange", this.look);
      this.addEventListener("over", () => say("state bad", "signed out", "Load the page again to sign in"));
      this.look();
    }

    addEventListener(name, listener) {
      super.addEventListener(name, listener);
      if (this.names.has(name)) return;
      this.names.add(name);
      this.source?.addEventListener(name, this.forward);
    }

    open() {
      if (this.source || this.ended) return;
      clearTimeout(this.later);
      const source = new EventSource(this.url);
      this.source = source;
      for (const name of this.names) source.addEventListener(name, this.forward);
      source.onopen = () => say("state good", "live", "What this page shows is brought up to date every two seconds");
      source.onerror = () => {
        if (this.source !== source || this.ended) return;
        say("state bad", "not live", "The gateway does not answer: what this page shows may be old");
        // The browser tries again by itself, unless it has been refused.
        if (source.readyState === EventSource.CLOSED) this.refused();
      };
    }

    async refused() {
      this.shut();
      this.later = setTimeout(() => document.hidden || this.open(), 5000);
      const answer = await fetch(this.url, { method: "HEAD", headers: { "HX-Request": "true" } }).catch(() => null);
      if (answer?.status !== 401) return;
      say("state bad", "signed out", "Load the page again to sign in");
      this.close();
    }

    shut() {
      this.source?.close();
      this.source = null;
    }

    close() {
      this.ended = true;
      clearTimeout(this.later);
      this.shut();
      document.removeEventListener("visibilitychange", this.look);
    }
  }
  if (window.htmx) window.htmx.createEventSource = (url) => new Pulse(url);

  // What has been done is said for a while.
  document.addEventListener("htmx:load", (event) => {
    const done = event.detail.elt;
    if (done.parentNode?.id !== "notices") return;
    done.addEventListener("click", () => done.remove());
    setTimeout(() => done.remove(), 12000);
  });
})();
