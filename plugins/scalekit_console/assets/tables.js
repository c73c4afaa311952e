"use strict";

// Tables whose rows the operator sorts by a column: up, down, and back to the order of the server, without a request.
// The order is that of this tab until it is closed, also in new renderings of a live page. Used by console.js.
const collator = new Intl.Collator(undefined, {numeric: true, sensitivity: "base"});
const storageKey = `order ${document.querySelector("main").dataset.page}`;
const orders = storedOrders();

function storedOrders() {
  try {
    return new Map(JSON.parse(sessionStorage.getItem(storageKey) || "[]"));
  } catch {
    return new Map(); // the browser denies storage
  }
}

function storeOrders() {
  try {
    sessionStorage.setItem(storageKey, JSON.stringify([...orders]));
  } catch {
    // The order ends with the page.
  }
}

// Numbers have their value beside the formatted text; a missing one has an empty value.
function valueOf(row, column) {
  const {dataset, textContent} = row.cells[column];
  return dataset.value === undefined ? textContent : dataset.value;
}

function compare(first, second) {
  const difference = Number(first) - Number(second);
  return Number.isNaN(difference) ? collator.compare(first, second) : difference;
}

// Rows without a value are the last in both orders.
function sortRows(table, column, direction) {
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...table.tBodies[0].rows].sort((one, other) => {
    const [first, second] = [valueOf(one, column), valueOf(other, column)];
    if (first === "" || second === "") return (first === "") - (second === "");
    return sign * compare(first, second);
  });
  table.tBodies[0].append(...rows);
}

function restoreRows(table) {
  const rows = [...table.tBodies[0].rows].sort((one, other) => one.dataset.place - other.dataset.place);
  table.tBodies[0].append(...rows);
}

function addButton(header, direction) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.append(...header.childNodes);
  header.append(button);
  if (direction) header.setAttribute("aria-sort", direction);
}

// Makes the tables below root sortable, and gives them the order that the operator has chosen.
function prepareTables(root) {
  const places = new Map();
  for (const region of root.querySelectorAll(".scroll")) {
    const [table, label] = [region.querySelector("table"), region.getAttribute("aria-label")];
    places.set(label, (places.get(label) || 0) + 1);
    region.dataset.table = `${label} ${places.get(label)}`;
    const order = orders.get(region.dataset.table);
    const rows = [...table.tBodies[0].rows];
    rows.forEach((row, place) => { row.dataset.place = place; });
    for (const [column, header] of [...table.tHead.rows[0].cells].entries()) {
      if (rows.length < 2 || rows.some((row) => row.cells[column].querySelector("form"))) continue;
      const direction = order && order.title === header.textContent ? order.direction : "";
      addButton(header, direction);
      if (direction) sortRows(table, column, direction);
    }
  }
}

// The first order of numbers is descending: operators look for the highest ones.
function nextDirection(header) {
  const directions = header.classList.contains("number") ? ["descending", "ascending"] : ["ascending", "descending"];
  return {"": directions[0], [directions[0]]: directions[1]}[header.getAttribute("aria-sort") || ""] || "";
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("button.sort");
  if (!button) return;
  const [header, region] = [button.closest("th"), button.closest(".scroll")];
  const direction = nextDirection(header);
  for (const each of header.parentNode.cells) each.removeAttribute("aria-sort");
  if (direction) {
    header.setAttribute("aria-sort", direction);
    orders.set(region.dataset.table, {title: header.textContent, direction});
    sortRows(region.querySelector("table"), header.cellIndex, direction);
  } else {
    orders.delete(region.dataset.table);
    restoreRows(region.querySelector("table"));
  }
  storeOrders();
});

prepareTables(document);
