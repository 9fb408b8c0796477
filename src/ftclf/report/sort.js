
// Tables are sorted by a click on a heading and searched by words; the confusion matrix is sorted by its buttons, and a
// click on a cell shows its labels in full. The page has the same content without this script.
(() => {
  "use strict";
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.v;
    return value === undefined ? cell.textContent.trim() : value === "" ? -Infinity : Number(value);
  };
  const compare = (a, b) =>
    typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a < b ? -1 : a > b ? 1 : 0;

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const body = table.tBodies[0];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (head.tagName !== "TH") return;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const text = column === 0;
        const next = { ascending: "descending", descending: "ascending" };
        const way = next[head.getAttribute("aria-sort")] || (text ? "ascending" : "descending");
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", way);
        const sign = way === "ascending" ? 1 : -1;
        body.append(...[...body.rows].sort((a, b) => sign * compare(key(a, column), key(b, column))));
      });
    });
  }

  for (const line of document.querySelectorAll(".search")) {
    const input = line.querySelector("input");
    const rows = [...document.getElementById(input.dataset.search).tBodies[0].rows];
    const said = line.querySelector("output");
    line.hidden = false;
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = [...row.querySelectorAll("bdi")].map((name) => name.textContent.toLowerCase()).join(" ");
        row.hidden = !words.every((word) => text.includes(word));
      }
      said.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length}` : "";
    });
  }

  for (const box of document.querySelectorAll(".matrix-box")) {
    const table = box.querySelector("table");
    const given = [...table.tBodies[0].rows];
    const places = given.map((_, index) => index);
    const cells = [table.tHead.rows[0], ...given].map((row) => [row, [...row.cells]]);
    const number = (place, name) => Number(given[place].dataset[name]);
    const buttons = [...box.querySelectorAll("button[data-order]")];
    box.querySelector(".order").hidden = false;
    const said = box.querySelector(".said");
    const name = (head) => head.querySelector("bdi").title;
    let marked = null;
    said.hidden = false;
    table.tBodies[0].addEventListener("click", (event) => {
      const cell = event.target.closest("td");
      if (!cell) return;
      const [row, column] = [cell.parentElement.cells[0], table.tHead.rows[0].cells[cell.cellIndex]];
      const [count, share] = ["b", "i"].map((part) => (cell.querySelector(part) || { textContent: "0" }).textContent);
      const rows = `${count} ${count === "1" ? "row" : "rows"}, ${share} %`;
      const what = cell.matches(".hit") ? "rightly given" : `given as ${name(column)}`;
      said.querySelector("output").textContent = `${name(row)} ${what}: ${rows}`;
      if (marked) marked.classList.remove("marked");
      marked = cell;
      cell.classList.add("marked");
    });
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const name = button.dataset.order;
        const order = name === "given" ? places : [...places].sort((a, b) => number(b, name) - number(a, name));
        for (const [row, found] of cells) row.append(found[0], ...order.map((place) => found[place + 1]));
        table.tBodies[0].append(...order.map((place) => given[place]));
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      });
    }
  }
})();
