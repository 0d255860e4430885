"use strict";
// Refreshes the regions marked with `data-live` when the inbox reports a change. The page works without it.
(() => {
  const MIN_PAUSE = 5000; // between two refreshes
  const TICK = 30000; // words such as "3 min ago" grow old
  const LOST_AFTER = 4000; // a planned end of the stream is no loss
  const status = document.querySelector(".live-state");
  const regions = () => document.querySelectorAll("[data-live][id]");

  // A second click must not send a form twice. A page that comes back from the history is usable again.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post") return;
    setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; }));
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) document.querySelectorAll("form[method=post] button").forEach((button) => { button.disabled = false; });
  });

  if (!status || regions().length === 0 || !("EventSource" in window)) return;

  let source = null, last = null, timer = 0, lost = 0, begun = 0, cost = 0, busy = false, again = false;

  const say = (state, text) => {
    if (status.dataset.state === state) return;
    status.dataset.state = state;
    status.textContent = text;
  };

  // What a person has done to a region must outlive its exchange.
  const remember = (region) => ({
    checked: [...region.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value),
    open: [...region.querySelectorAll("details")].map((details) => details.open),
    focus: region.contains(document.activeElement) ? keyOf(document.activeElement, region) : null,
    scrolls: [...region.querySelectorAll(".scroll, pre")].map((box) => [box.scrollLeft, box.scrollTop]),
  });
  const keyOf = (element, region) => {
    const same = (other) => other.tagName === element.tagName && other.getAttribute("href") === element.getAttribute("href") && other.value === element.value;
    const alike = [...region.querySelectorAll(element.tagName)].filter(same);
    return { tag: element.tagName, href: element.getAttribute("href"), value: element.value, index: alike.indexOf(element) };
  };
  const restore = (region, kept) => {
    region.querySelectorAll("input[type=checkbox]").forEach((box) => { box.checked = kept.checked.includes(box.value); });
    region.querySelectorAll("details").forEach((details, at) => { if (kept.open[at] !== undefined) details.open = kept.open[at]; });
    region.querySelectorAll(".scroll, pre").forEach((box, at) => { if (kept.scrolls[at]) [box.scrollLeft, box.scrollTop] = kept.scrolls[at]; });
    if (kept.focus) {
      const alike = [...region.querySelectorAll(kept.focus.tag)].filter((other) => other.getAttribute("href") === kept.focus.href && other.value === kept.focus.value);
      const target = alike[kept.focus.index] || alike[0];
      if (target) target.focus({ preventScroll: true });
    }
  };

  const swap = (fresh) => {
    const [x, y] = [scrollX, scrollY];
    for (const region of regions()) {
      const next = fresh.getElementById(region.id);
      if (!next) continue;
      if (next.className !== region.className) region.className = next.className;
      // The rows that a person is choosing from stay where they are.
      if (region.querySelector("input[type=checkbox]:checked")) continue;
      // `open` belongs to the person.
      const now = region.cloneNode(true);
      now.querySelectorAll("details").forEach((details) => details.removeAttribute("open"));
      const then = next.cloneNode(true);
      then.querySelectorAll("details").forEach((details) => details.removeAttribute("open"));
      if (now.innerHTML === then.innerHTML) continue;
      const kept = remember(region);
      region.replaceChildren(...[...next.childNodes].map((node) => document.importNode(node, true)));
      restore(region, kept);
    }
    document.title = fresh.title;
    scrollTo(x, y);
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    begun = Date.now();
    try {
      const address = new URL(location.href);
      address.hash = "";
      address.searchParams.delete("body"); // the body does not change, and may be large
      const response = await fetch(address, { credentials: "same-origin", redirect: "follow", headers: { accept: "text/html" } });
      // Signed out, or gone: the person sees that at the next click, and reads what is here until then.
      if (response.ok && !response.redirected) swap(new DOMParser().parseFromString(await response.text(), "text/html"));
    } catch (_) {
      // The stream shows that the inbox is away.
    } finally {
      cost = Date.now() - begun;
      busy = false;
      if (again) { again = false; plan(); }
    }
  };

  // A slow inbox is asked less often.
  const plan = () => {
    if (timer || document.hidden) return;
    const wait = Math.max(0, begun + Math.max(MIN_PAUSE, 20 * cost) - Date.now());
    timer = setTimeout(() => { timer = 0; refresh(); }, wait);
  };

  const connect = () => {
    if (source || document.hidden) return;
    source = new EventSource("/page/live");
    source.addEventListener("counts", (event) => {
      clearTimeout(lost);
      lost = 0;
      say("live", "live");
      if (event.data !== last) { last = event.data; plan(); }
    });
    source.onerror = () => {
      if (!lost) lost = setTimeout(() => say("disconnected", "disconnected"), LOST_AFTER);
      // A refused stream stays closed, so it needs another one.
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(connect, 5000);
      }
    };
  };
  const disconnect = () => {
    clearTimeout(timer);
    clearTimeout(lost);
    timer = lost = 0;
    if (source) source.close();
    source = null;
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { disconnect(); say("off", ""); } else { connect(); plan(); }
  });
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => { if (event.persisted) { connect(); plan(); } });
  setInterval(() => { if (source && !document.hidden) plan(); }, TICK);
  connect();
})();
