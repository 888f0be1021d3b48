// WebSockets to the run that serves this page; both are opened again when the run comes back.

const RETRY_MS = 1000;

const address = (path) => `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`;

/** Commands and events, as docs/live.md lists them. */
export class Control {
  #socket = null;
  #next = 1;
  #waiting = new Map();

  /** `onEvent` gets each event; `onState` "open" or "away". */
  constructor(onEvent, onState) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.#open();
  }

  /** Send a command; resolves to the answer, rejects with the reason where it was refused. */
  send(command, value, confirm) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("There is no connection to the run."));
    const id = this.#next++;
    this.#socket.send(JSON.stringify({ id, command, ...(value !== undefined && { value }), ...(confirm && { confirm }) }));
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  #open() {
    const socket = (this.#socket = new WebSocket(address("/control")));
    socket.onopen = () => this.onState("open");
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.event) return this.onEvent(message);
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.ok) waiting?.resolve(message);
      else waiting?.reject(new Error(message.error));
    };
    socket.onclose = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("The connection to the run was lost."));
      this.#waiting.clear();
      this.onState("away");
      setTimeout(() => this.#open(), RETRY_MS);
    };
  }
}

/** Images of the output, drawn into `canvas` as fast as this page can; none while it is hidden. */
export class Preview {
  #socket = null;

  /** `onRoom` is told with each image whether it shows the room. */
  constructor(canvas, onRoom) {
    this.canvas = canvas;
    this.onRoom = onRoom;
    document.addEventListener("visibilitychange", () => this.#ask());
    this.#open();
  }

  #open() {
    const socket = (this.#socket = new WebSocket(address("/preview")));
    socket.binaryType = "arraybuffer";
    this.asked = false;
    socket.onopen = () => this.#ask();
    socket.onmessage = async ({ data }) => {
      const room = new Uint8Array(data, 0, 1)[0] === 1;
      const image = await createImageBitmap(new Blob([new Uint8Array(data, 1)], { type: "image/jpeg" }));
      if (this.canvas.width !== image.width || this.canvas.height !== image.height) {
        this.canvas.width = image.width;
        this.canvas.height = image.height;
      }
      this.canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
      this.canvas.dataset.images = Number(this.canvas.dataset.images ?? 0) + 1;
      this.onRoom(room);
      this.asked = false;
      this.#ask();
    };
    socket.onclose = () => setTimeout(() => this.#open(), RETRY_MS);
  }

  #ask() {
    if (this.asked || document.hidden || this.#socket.readyState !== WebSocket.OPEN) return;
    this.asked = true;
    this.#socket.send(String(Math.min(9999, Math.round(this.canvas.clientWidth * Math.min(2, devicePixelRatio)))));
  }
}

/** Send a file as a new background; resolves to the run's state. */
export async function upload(file) {
  const answer = await fetch("/backgrounds", { method: "POST", body: file });
  const said = await answer.json().catch(() => ({ error: `The run answered ${answer.status}.` }));
  if (!answer.ok) throw new Error(said.error);
  return said;
}

/** What is set now, as a file for --config. */
export async function settings() {
  const answer = await fetch("/settings.toml", { method: "POST" });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.blob();
}

/** A link that lets one more browser in. */
export async function newLink() {
  const answer = await fetch("/link", { method: "POST" });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()).link;
}
