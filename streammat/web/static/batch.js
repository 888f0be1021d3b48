// The table of a batch, asked for once a second.

const EVERY_MS = 1000;

function row(shot) {
  const line = document.createElement("tr");
  line.className = shot.state === "failed" ? "failed" : "";
  const bar = document.createElement("progress");
  bar.max = Math.max(1, shot.frames);
  bar.value = shot.done;
  bar.setAttribute("aria-label", `frames of ${shot.name}`);
  const state = shot.reason ? `${shot.state}: ${shot.reason}` : shot.state;
  for (const text of [shot.name, state, `${shot.done} / ${shot.frames || "?"}`, bar, shot.workers.join(", ")]) {
    const cell = document.createElement("td");
    cell.append(text);
    line.append(cell);
  }
  return line;
}

async function ask() {
  try {
    const answer = await fetch("/state");
    if (!answer.ok) throw new Error(await answer.text());
    const state = await answer.json();
    document.getElementById("state").textContent = state.summary;
    document.getElementById("shots").replaceChildren(...state.shots.map(row));
  } catch {
    document.getElementById("state").textContent = "There is no connection: the batch has ended, or was ended.";
  }
  setTimeout(ask, EVERY_MS);
}

ask();
