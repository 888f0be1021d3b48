// The page: what the run says is shown, what is pressed is sent. The run alone decides what is so.

import { Control, Preview, newLink, settings, upload } from "./connection.js";
import { Curves } from "./curves.js";

const $ = (id) => document.getElementById(id);
const LOG_LENGTH = 200;
const FRESH_SECONDS = 5; // older ones are told to a page that has just come
const BLUR_PAUSE_MS = 120;

let now = {};
let listed = "";
let messageTimer = 0;
let blurTimer = 0;
let imageOfRoom = false;
const choosing = new Set(); // commands that are on their way: what was chosen stays until the run has said what is so
const curves = new Curves($("curves"));

function say(text) {
  $("message").textContent = text;
  clearTimeout(messageTimer);
  messageTimer = setTimeout(() => ($("message").textContent = ""), 8000);
}

/** Ask before something that cannot be taken back; resolves to true for yes. */
function confirmed(title, text, yes) {
  $("dialog-title").textContent = title;
  $("dialog-text").textContent = text;
  $("dialog-yes").textContent = yes;
  $("dialog-yes").hidden = !yes;
  $("dialog-no").textContent = yes ? "Cancel" : "Close";
  $("dialog").returnValue = "no";
  $("dialog").showModal();
  return new Promise((resolve) => $("dialog").addEventListener("close", () => resolve($("dialog").returnValue === "yes"), { once: true }));
}

// -- what the run says ------------------------------------------------------------------------------------------------

const isBlur = (text) => /^blur(:|$)/i.test(text);
const isAdded = (text) => /[\\/](streammat-web-[^\\/]+|streammat[\\/]backgrounds)[\\/][^\\/]+$/.test(text);

function nameOf(text) {
  if (isBlur(text)) return "Blur";
  if (isAdded(text)) return `Added ${now.backgrounds.filter(isAdded).indexOf(text) + 1}`;
  return text.split(/[\\/]/).at(-1);
}

function image(text) {
  if (isBlur(text)) {
    const box = document.createElement("span");
    box.className = "image blur";
    return box;
  }
  const picture = document.createElement("img");
  picture.className = "image";
  picture.alt = "";
  picture.loading = "lazy";
  picture.src = `/thumbnail?background=${encodeURIComponent(text)}`;
  return picture;
}

function listBackgrounds() {
  const key = JSON.stringify(now.backgrounds.map((text) => (isBlur(text) ? "blur" : text)));
  if (key !== listed) {
    const focused = $("backgrounds").contains(document.activeElement) ? document.activeElement.dataset.text : null;
    listed = key;
    $("backgrounds").replaceChildren(...now.backgrounds.map((text, index) => {
      const item = document.createElement("li");
      const button = document.createElement("button");
      const name = document.createElement("span");
      name.className = "name";
      name.textContent = nameOf(text);
      button.type = "button";
      button.title = isBlur(text) ? "The room, blurred" : text;
      button.dataset.text = text;
      button.append(image(text), name);
      button.onclick = () => send("background", now.backgrounds[index]);
      item.append(button);
      return item;
    }));
    [...$("backgrounds").querySelectorAll("button")].find((button) => button.dataset.text === focused)?.focus();
  }
  $("backgrounds").querySelectorAll("button").forEach((button, index) => {
    button.setAttribute("aria-pressed", now.backgrounds[index] === now.background);
  });
}

const CONTROLS = [
  { name: "clip-black", label: "Clip black", min: 0, max: 0.45, step: 0.01, off: 0 },
  { name: "clip-white", label: "Clip white", min: 0.55, max: 1, step: 0.01, off: 1 },
  { name: "grow", label: "Grow or shrink", min: -8, max: 8, step: 0.5, off: 0, unit: "px" },
  { name: "feather", label: "Feather", min: 0, max: 10, step: 0.5, off: 0, unit: "px" },
  { name: "despeckle", label: "Despeckle", min: 0, max: 500, step: 10, off: 0, unit: "px" },
];

function makeControls() {
  for (const { name, label, min, max, step, unit } of CONTROLS) {
    const field = document.createElement("label");
    const slider = document.createElement("input");
    const value = document.createElement("output");
    field.className = "field wide";
    Object.assign(slider, { type: "range", min, max, step });
    slider.dataset.name = name;
    field.append(label, slider, value);
    const tell = () => (value.textContent = `${slider.value}${unit ? ` ${unit}` : ""}`);
    slider.oninput = tell;
    slider.onchange = () => send("matte", { [name]: Number(slider.value) }).then(() => send("status"));
    slider.tell = tell;
    $("matte").append(field);
  }
}

function showControls() {
  for (const slider of $("matte").querySelectorAll("input")) {
    if (slider === document.activeElement) continue;
    slider.value = now.matte[slider.dataset.name];
    slider.tell();
  }
  if ($("despill") !== document.activeElement) $("despill").value = now.matte.despill ?? ""; // empty for what only scripts ask for
}

function listOutputs() {
  $("outputs").replaceChildren(...now.outputs.map((output) => {
    const item = document.createElement("li");
    const name = document.createElement("span");
    const state = document.createElement("span");
    name.textContent = output.kind === "recording" ? output.name.split(/[\\/]/).at(-1) : output.name;
    name.title = output.name;
    state.textContent = output.error ? `ended: ${output.error}` : `${output.state}, ${output.images} images, ${output.dropped} dropped`;
    state.classList.toggle("failed", Boolean(output.error));
    item.append(name, state);
    return item;
  }));
  $("record").setAttribute("aria-pressed", now.recording);
  $("record").textContent = now.recording ? "End recording" : "Start recording";
  $("stream").setAttribute("aria-pressed", now.streaming);
  $("stream").textContent = now.streaming ? "End stream" : now.stream ? "Start stream" : "Start stream…";
  $("address").hidden = now.streaming || !now.stream;
}

function show() {
  for (const [id, on] of [["pause", now.paused], ["mirror", now.mirror], ["mute", now.muted], ["room", now["pass-through"]]]) {
    $(id).setAttribute("aria-pressed", Boolean(on));
  }
  $("pause").textContent = now.paused ? "Paused" : "Pause";
  $("room").textContent = now["pass-through"] ? "Hide the room" : "Show the room…";
  $("save").hidden = !now.config;
  $("mute").hidden = now.muted === undefined;
  showRoom();
  if (now.backgrounds) listBackgrounds();
  if (now.outputs) listOutputs();
  if (!blurTimer) showBlur(); // what is being chosen stays
  if (now.quality && !choosing.has("quality")) $("quality").value = now.quality;
  if (now.matte) showControls();
  if (!choosing.has("hold-rate")) $("hold-rate").checked = Boolean(now["hold-rate"]);
  if (now.network) {
    $("engine").textContent = `${now.engine} ${now.precision}, network ${now.network.join("×")}${now.lowered ? ", lowered to hold the rate" : ""}`;
    $("numbers").textContent = `${now.fps.toFixed(1)} fps · latency ${now.latency_p50_ms.toFixed(0)} ms · ${now.dropped} dropped · ${now.faults} faults${now.rested_percent ? ` · rests ${now.rested_percent} %` : ""}`;
  }
}

function showBlur() {
  const strength = isBlur(now.background ?? "") ? Number(now.background.split(":")[1] ?? 50) : null;
  if (strength !== null) $("blur").value = strength;
  $("blur-value").textContent = strength === null ? "off" : `${strength} %`;
}

/** Frame the image in red while the room is to be shown, and while an image of it is there: what stands in for a late one is not the room. */
function showRoom(image = imageOfRoom) {
  imageOfRoom = image;
  const room = imageOfRoom || now["pass-through"];
  document.body.classList.toggle("room", Boolean(room));
  $("shown").hidden = !room;
}

function log(event) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  const date = new Date(event.time * 1000);
  time.dateTime = date.toISOString();
  time.textContent = date.toLocaleTimeString();
  const about = event.message ?? event.name ?? (event.camera ? `${event.camera}, ${event.size?.join("×")}` : "");
  item.append(time, ` ${event.event}${about ? `: ${about}` : ""}`);
  $("log").prepend(item);
  while ($("log").childElementCount > LOG_LENGTH) $("log").lastChild.remove();
}

function hear(event) {
  if (event.event === "status") {
    now = event;
    curves.add(event);
    show();
  } else {
    log(event);
    if (event.event === "output-failed" && Date.now() / 1000 - event.time < FRESH_SECONDS) say(`${event.name}: ${event.message}`);
  }
}

function connected(state) {
  document.body.dataset.state = state;
  $("state").textContent = state === "open" ? "Connected" : "No connection to the run; trying again…";
  if (state !== "open") return;
  $("log").replaceChildren(); // the run tells what was
  send("status");
}

// -- what is pressed --------------------------------------------------------------------------------------------------

makeControls();
const control = new Control(hear, connected);
new Preview($("image"), showRoom);

async function send(command, value, confirm) {
  try {
    Object.assign(now, await control.send(command, value, confirm));
    show();
  } catch (error) {
    say(error.message);
    show(); // back to what is so
  }
}

async function choose(command, value) {
  choosing.add(command);
  await send(command, value);
  await send("status");
  choosing.delete(command);
  show();
}

$("pause").onclick = () => send("pause", !now.paused);
$("mirror").onclick = () => send("mirror", !now.mirror);
$("mute").onclick = () => send("mute", !now.muted);
$("quality").onchange = () => choose("quality", $("quality").value);
$("hold-rate").onchange = () => choose("hold-rate", $("hold-rate").checked);
$("despill").onchange = () => send("matte", { despill: $("despill").value || null }).then(() => send("status"));
$("matte-off").onclick = async () => {
  document.activeElement.blur();
  await send("matte", { ...Object.fromEntries(CONTROLS.map(({ name, off }) => [name, off])), despill: null });
  send("status");
};
$("colour").onchange = async () => {
  await send("background", $("colour").value);
  send("status");
};

$("record").onclick = () => send("record", !now.recording);
$("stream").onclick = () => (now.streaming || now.stream ? send("stream", !now.streaming) : askForStream());
$("address").onclick = () => askForStream();
$("save").onclick = async () => {
  try {
    say(`Saved in ${(await control.send("save")).file}.`);
  } catch (error) {
    say(error.message);
  }
};

$("settings").onclick = async () => {
  try {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await settings());
    link.download = "streammat.toml";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    say(error.message);
  }
};

/** Ask for a server; the key leaves the page with the command alone. */
function askForStream() {
  const dialog = $("stream-dialog");
  dialog.returnValue = "no";
  dialog.showModal();
  $("stream-no").onclick = () => dialog.close("no");
  dialog.addEventListener("close", () => {
    const [address, key] = [$("stream-address").value.trim(), $("stream-key").value.trim()];
    $("stream-key").value = "";
    if (dialog.returnValue === "yes") send("stream", key ? `${address.replace(/\/+$/, "")}/${key}` : address);
  }, { once: true });
}

$("room").onclick = async () => {
  if (now["pass-through"]) send("pass-through", false);
  else if (await confirmed("Show the room as it is?", "Everybody who watches will see your room, without any background.", "Show the room")) {
    send("pass-through", true, true);
  }
};

$("blur").oninput = () => {
  $("blur-value").textContent = `${$("blur").value} %`;
  clearTimeout(blurTimer);
  blurTimer = setTimeout(async () => {
    blurTimer = 0;
    await send("blur-strength", Number($("blur").value));
    send("status");
  }, BLUR_PAUSE_MS);
};

async function add(files) {
  for (const file of files) {
    try {
      say(`Sending ${file.name}…`);
      Object.assign(now, await upload(file));
      say(`${file.name} is shown.`);
    } catch (error) {
      say(`${file.name}: ${error.message}`);
    }
  }
  send("status");
}

$("file").onchange = async () => {
  await add([...$("file").files]);
  $("file").value = "";
};
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  add([...event.dataTransfer.files]);
});

$("link").onclick = async () => {
  try {
    const link = await newLink();
    await confirmed("Open this in the other browser", link, "");
  } catch (error) {
    say(error.message);
  }
};
$("quit").onclick = async () => {
  if (await confirmed("End the run?", "The camera, recordings and streams end; recordings are kept.", "End the run")) send("quit");
};
