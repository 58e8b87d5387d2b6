"use strict";
(() => {
  const openUp = (element) => {
    for (let box = element.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  };
  const follow = () => {
    let id = location.hash.slice(1);
    if (!id) return;
    let target = document.getElementById(id);
    if (!target) {
      try { target = document.getElementById(decodeURIComponent(id)); } catch { return; }
    }
    if (!target) return;
    openUp(target);
    target.scrollIntoView();
    const focus = target.matches("details") ? target.querySelector("summary") : target;
    if (!focus.matches("summary, a, button, [tabindex]")) focus.tabIndex = -1;
    focus.focus({ preventScroll: true });
  };
  addEventListener("hashchange", follow);
  // After the browser's own scrolling to the fragment, which takes the focus away.
  addEventListener("load", () => requestAnimationFrame(follow));
  // A click on the link that is already in the address changes no hash: open its target all the same.
  addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.getAttribute("href") === location.hash) follow();
  });

  // A page stays open for days: an old night turns red when it is read, not only when it was written.
  const night = document.querySelector("[data-ended]");
  const age = () => {
    const seconds = Date.now() / 1000 - night.dataset.ended, hours = Math.floor(seconds / 3600);
    if (!(seconds > night.dataset.stale)) return;
    night.classList.remove("good", "warn");
    night.classList.add("bad");
    night.querySelector(".age").textContent = hours < 72 ? hours + " h" : Math.floor(hours / 24) + " days";
    night.querySelector(".old").hidden = false;
  };
  if (night) {
    age();
    setInterval(age, 60000);
    addEventListener("visibilitychange", age);
  }

  // The reason of what was not measured, under the pointer too; written once in the file, not beside every link.
  addEventListener("pointerover", (event) => {
    const link = event.target.closest("a.absent");
    if (link) link.title = document.getElementById(link.getAttribute("aria-describedby")).textContent;
  });

  const save = async (button) => {
    const bytes = Uint8Array.from(atob(document.getElementById(button.dataset.save).textContent), (one) => one.charCodeAt(0));
    const whole = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const text = await new Response(whole).arrayBuffer();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: button.dataset.type + ";charset=utf-8" }));
    link.download = button.dataset.name;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const toggle = (name, open) => {
    for (const box of document.querySelectorAll("details." + name)) box.open = open;
  };
  for (const button of document.querySelectorAll("button[hidden]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      if (button.dataset.save) save(button);
      else if (button.dataset.open) toggle(button.dataset.open, true);
      else toggle(button.dataset.close, false);
    });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    const wanted = document.querySelectorAll("#failures details.log, details.case[open] details.repetition");
    opened = [...wanted].filter((box) => !box.open);
    for (const box of opened) box.open = true;
  });
  addEventListener("afterprint", () => {
    for (const box of opened) box.open = false;
    opened = [];
  });
})();
