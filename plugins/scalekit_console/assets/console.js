"use strict";

// Live pages: each event is the new markup of the page, which the server has escaped. The page is complete without this.
const live = document.getElementById("live");

// Changes what differs: focus, selection, scroll positions and a click under way stay where they are.
function updateNode(node, fresh) {
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
  wanted.forEach((child, place) => (place < present.length ? updateNode(present[place], child) : node.append(child)));
  present.slice(wanted.length).forEach((child) => child.remove());
}

if (live && live.dataset.events && window.EventSource) {
  let source = null;
  let paused = false;
  let failures = 0;
  let shown = new Date();
  const button = document.createElement("button");
  button.type = "button";
  button.className = "pause";
  const notice = document.createElement("p");
  notice.className = "notice warning";
  notice.setAttribute("role", "status");
  notice.hidden = true;

  const show = (event) => {
    const parsed = new DOMParser().parseFromString(event.data, "text/html");
    for (const field of parsed.querySelectorAll("input[name=csrf_token]")) field.value = live.dataset.csrf;
    prepareTables(parsed);
    updateChildren(live, parsed.body);
    failures = 0;
    shown = new Date();
    notice.hidden = true;
  };
  // A stream ends from time to time and is opened again: one failure is none. A response without events, such as that
  // of a proxy while no worker accepts connections, ends it for good.
  const fail = (event) => {
    if (event.target !== source) return;
    failures += 1;
    notice.textContent = `Not connected: this is the state of ${shown.toLocaleTimeString()}. The page tries again; ` +
      "if your session has ended, load it again to sign in.";
    notice.hidden = failures < 2;
    if (source.readyState === EventSource.CLOSED) setTimeout(() => source === event.target && open(), 5000);
  };
  const open = () => {
    source = new EventSource(live.dataset.events);
    source.onmessage = show;
    source.onerror = fail;
  };
  const close = () => {
    if (source) source.close();
    source = null;
  };
  // A browser opens six connections to a service with HTTP/1.1: tabs that nobody sees must not take them.
  const update = () => {
    const wanted = !paused && !document.hidden;
    if (wanted && !source) open();
    if (!wanted) close();
    button.textContent = paused ? "Resume" : "Pause";
  };
  const pause = (value) => {
    paused = value;
    update();
  };

  button.addEventListener("click", () => pause(!paused));
  document.addEventListener("visibilitychange", update);
  // A new rendering may change the row of a form while the operator fills it in, and folds what is unfolded.
  live.addEventListener("focusin", (event) => {
    if (event.target.closest("form, details")) pause(true);
  });
  document.querySelector("h1").append(" ", button);
  live.before(notice);
  update();
}
