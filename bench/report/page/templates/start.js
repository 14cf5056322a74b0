// Connects the page's controls to their actions.

const results = JSON.parse(document.getElementById("data").textContent);
const sections = [...document.querySelectorAll(".board")];

function drawAll() {
  for (const section of sections) drawPareto(section, results.boards[section.dataset.board]);
}

for (const section of sections) {
  const board = section.dataset.board;
  const leaderboard = section.querySelector(".leaderboard");
  leaderboard.tHead.addEventListener("click", (event) => {
    const header = event.target.closest("th");
    if (header) sortBy(leaderboard, header);
  });
  leaderboard.tBodies[0].addEventListener("click", (event) => {
    const button = event.target.closest(".model");
    if (!button) return;
    const [run, model] = results.links[board][button.closest("tr").dataset.row];
    showModel(button.textContent, results.details[run][model], results.shared);
  });
  for (const select of section.querySelectorAll("select")) {
    select.addEventListener("change", () => drawPareto(section, results.boards[board]));
  }
}

document.getElementById("filter").addEventListener("input", (event) => {
  filterRows(event.target.value);
  drawAll();
});
document.getElementById("close").addEventListener("click", () => document.getElementById("model").close());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
filterRows("");
drawAll();
