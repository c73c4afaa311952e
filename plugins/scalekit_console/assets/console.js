"use strict";

// Live pages: each event is the new markup of the page, which the server has escaped. The page is complete without this.
const live = document.getElementById("live");

if (live && live.dataset.events && window.EventSource) {
  let source = null;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "pause";

  const start = () => {
    source = new EventSource(live.dataset.events);
    source.onmessage = (event) => {
      const parsed = new DOMParser().parseFromString(event.data, "text/html");
      for (const field of parsed.querySelectorAll("input[name=csrf_token]")) field.value = live.dataset.csrf;
      live.replaceChildren(...parsed.body.childNodes);
    };
    // A response without events, such as that of a proxy while no worker accepts connections, ends the stream for good.
    source.onerror = (event) => {
      if (event.target.readyState === EventSource.CLOSED) {
        setTimeout(() => source === event.target && start(), 5000);
      }
    };
    button.textContent = "Pause";
  };
  const stop = () => {
    source.close();
    source = null;
    button.textContent = "Resume";
  };

  button.addEventListener("click", () => (source ? stop() : start()));
  // A new rendering would discard what the operator types or unfolds.
  live.addEventListener("focusin", (event) => {
    if (source && event.target.closest("form, details")) stop();
  });
  document.querySelector("h1").append(" ", button);
  start();
}
