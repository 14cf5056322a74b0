"use strict";
// Sorting, filtering, and showing the figures that the page holds. Everything else is in the page's markup.

const NAMES = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
const figures = JSON.parse(document.getElementById("figures").textContent);
const boards = [...document.querySelectorAll(".board")];
const dialog = document.getElementById("model");
const [filter, method, size, task] = ["filter", "method", "size", "task"].map((id) => document.getElementById(id));

function draw(place, figure) {
  Plotly.react(place, figure.data, { ...figure.layout }, { displayModeBar: false, responsive: true });
}

function drawPareto(board) {
  const place = board.querySelector(".pareto");
  if (!place) return;
  const [score, cost] = [".score", ".cost"].map((name) => board.querySelector(name).value);
  const shown = new Set([...board.querySelectorAll("tbody tr:not([hidden])")].map((row) => Number(row.dataset.row)));
  const figure = figures.pareto[board.dataset.board][`${cost} ${score}`];
  for (const trace of figure.data.filter((one) => one.customdata)) {
    trace.selectedpoints = trace.customdata.flatMap(([row], index) => (row === null || shown.has(row) ? [index] : []));
  }
  draw(place, figure);
}

function sortBy(table, header) {
  const column = header.cellIndex;
  const isNumber = header.querySelector("button").dataset.kind === "number";
  const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row) => ({ row, key: row.cells[column].dataset.sort }));
  keyed.sort((a, b) => {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
    return direction * (isNumber ? Number(a.key) - Number(b.key) : NAMES.compare(a.key, b.key));
  });
  for (const other of header.parentNode.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", direction === 1 ? "ascending" : "descending");
  body.append(...keyed.map((one) => one.row));
  table.classList.add("sorted");
}

function filterRows() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  const rows = document.querySelectorAll(".leaderboard tbody tr");
  for (const row of rows) {
    const texts = [...row.cells].filter((cell) => !cell.classList.contains("number")).map((cell) => cell.textContent);
    const content = texts.join(" ").toLowerCase();
    row.hidden = !words.every((word) => content.includes(word))
      || [method, size].some((choice) => choice.value && row.dataset[choice.id] !== choice.value);
    shown += !row.hidden;
  }
  document.getElementById("count").textContent = `${shown} of ${rows.length} rows`;
  for (const board of boards) drawPareto(board);
}

function chooseTask() {
  for (const cell of document.querySelectorAll("[data-task]")) cell.hidden = task.value && cell.dataset.task !== task.value;
  for (const score of document.querySelectorAll("select.score")) {
    const first = [...score.options].find((option) => !option.hidden);
    if (first && score.selectedOptions[0].hidden) score.value = first.value;
  }
  for (const board of boards) drawPareto(board);
}

function showModel(number) {
  document.getElementById("model-content").replaceChildren(document.getElementById(`model-${number}`).content.cloneNode(true));
  document.getElementById("model-name").textContent = dialog.querySelector("article").dataset.name;
  dialog.showModal();
  dialog.scrollTop = 0;
  dialog.querySelectorAll(".architecture").forEach((place, index) => draw(place, figures.architecture[number][index]));
}

for (const board of boards) {
  const table = board.querySelector(".leaderboard");
  table.tHead.addEventListener("click", (event) => {
    const header = event.target.closest("th");
    if (header) sortBy(table, header);
  });
  table.tBodies[0].addEventListener("click", (event) => {
    const button = event.target.closest(".model");
    if (button) showModel(button.dataset.model);
  });
  for (const choice of board.querySelectorAll("select")) choice.addEventListener("change", () => drawPareto(board));
}
filter.addEventListener("input", filterRows);
for (const choice of [method, size]) choice.addEventListener("change", filterRows);
task.addEventListener("change", chooseTask);
document.getElementById("close").addEventListener("click", () => dialog.close());
filterRows();
