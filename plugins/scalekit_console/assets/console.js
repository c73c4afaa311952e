"use strict";

// Live pages: each event is the new markup of the page, which the server has escaped. The page is complete without this.
const live = document.getElementById("live");

// Changes what differs: focus, selection, scroll positions and a click under way stay where they are.
function update(node, fresh) {
  if (node.nodeName !== fresh.nodeName) return node.replaceWith(fresh);
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== fresh.data) node.data = fresh.data;
    return;
  }
  for (const {name} of [...node.attributes]) if (!fresh.hasAttribute(name)) node.removeAttribute(name);
  for (const {name, value} of fresh.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  updateChildren(node, fresh);
}

function updateChildren(node, fresh) {
  const [present, wanted] = [[...node.childNodes], [...fresh.childNodes]];
  wanted.forEach((child, place) => (place < present.length ? update(present[place], child) : node.append(child)));
  present.slice(wanted.length).forEach((child) => child.remove());
}

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
      prepareTables(parsed);
      updateChildren(live, parsed.body);
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
  // A new rendering may change the row of a form while the operator fills it in, and folds what is unfolded.
  live.addEventListener("focusin", (event) => {
    if (source && event.target.closest("form, details")) stop();
  });
  document.querySelector("h1").append(" ", button);
  start();
}
